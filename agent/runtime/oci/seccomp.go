package oci

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	profile "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/supervisor"
)

// filterName is the compiled filter in a container's directory. The container's first process gets its filter from
// libcontainer, the commands of exec get this one from the supervisor.
const filterName = "seccomp"

// profileBytesMax bounds a profile's file; the default profile has 14 KB.
const profileBytesMax = 1 << 20

// filter gives the container the seccomp profile that its spec names, and writes it down for commands.
func (e *Executor) filter(c *container, cfg *configs.Config) error {
	spec := c.record.Spec
	if spec.Seccomp == "" {
		return nil
	}
	rules, err := seccompProfile(spec.Seccomp, capNames(c.record.CapMask))
	if err != nil || rules == nil {
		return err
	}
	if cfg.Seccomp, err = specconv.SetupSeccomp(rules); err != nil {
		return fmt.Errorf("the seccomp profile %s: %w", spec.Seccomp, err)
	}
	flags, program, err := e.compiled(rules, cfg.Seccomp)
	if err != nil {
		return fmt.Errorf("the seccomp profile %s: %w", spec.Seccomp, err)
	}
	c.record.Filtered = true
	return os.WriteFile(filepath.Join(e.containerDir(c.id), filterName), supervisor.EncodeFilter(flags, program), 0o600)
}

// filterFile is where a container's compiled filter is; "" if it has none.
func (e *Executor) filterFile(r *containerRecord) string {
	if !r.Filtered {
		return ""
	}
	return filepath.Join(e.containerDir(r.Spec.ID), filterName)
}

// seccompProfile reads a profile. Which calls the default one allows depends on the container's capabilities.
func seccompProfile(name string, caps []string) (*specs.LinuxSeccomp, error) {
	if name == runtime.ProfileDefault {
		p, err := profile.GetDefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}})
		if err != nil {
			return nil, fmt.Errorf("the default seccomp profile: %w", err)
		}
		return p, nil
	}
	st, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("cannot load seccomp profile %q: %w", name, err)
	}
	if st.Size() > profileBytesMax {
		return nil, fmt.Errorf("cannot load seccomp profile %q: it is longer than %d bytes", name, profileBytesMax)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("cannot load seccomp profile %q: %w", name, err)
	}
	return parseProfile(name, b)
}

func parseProfile(name string, b []byte) (*specs.LinuxSeccomp, error) {
	p := &specs.LinuxSeccomp{}
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(p); err != nil {
		return nil, fmt.Errorf("decoding seccomp profile %q: %w", name, err)
	}
	if p.DefaultAction == "" {
		return nil, fmt.Errorf("seccomp profile %q has no defaultAction", name)
	}
	for _, call := range p.Syscalls {
		if call.Action == specs.ActNotify {
			return nil, fmt.Errorf("seccomp profile %q has the action %s, for which there is no listener", name, specs.ActNotify)
		}
		for _, a := range call.Args {
			if a.Index > 5 {
				return nil, fmt.Errorf("seccomp profile %q: %v: a system call has arguments 0 to 5, not %d", name, call.Names, a.Index)
			}
		}
	}
	return p, nil
}

type compiledFilter struct {
	flags   uint32
	program []byte
}

// compiled remembers the filters of the profiles in use, since most containers have the same.
func (e *Executor) compiled(rules *specs.LinuxSeccomp, cfg *configs.Seccomp) (uint32, []byte, error) {
	b, err := json.Marshal(rules)
	if err != nil {
		return 0, nil, err
	}
	key := sha256.Sum256(b)
	e.mu.Lock()
	f, ok := e.filters[key]
	e.mu.Unlock()
	if ok {
		return f.flags, f.program, nil
	}
	f.flags, f.program, err = compileFilter(cfg)
	if err != nil {
		return 0, nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.filters) >= filtersMax {
		clear(e.filters)
	}
	e.filters[key] = f
	return f.flags, f.program, nil
}
