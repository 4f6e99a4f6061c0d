package cri

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/peapod-sh/peapod/internal/adminsock"
	"github.com/peapod-sh/peapod/internal/cni"
)

// AttachFunc gives a pod whose network namespace is at a path its addresses. A pod that has some keeps them.
type AttachFunc func(ctx context.Context, podUID, netns string) ([]netip.Addr, error)

// settings are what of the runtime's configuration we need to know.
type settings struct {
	bin, conf    string   // where it looks for network plugins, and for what says which to use
	sandboxImage string   // of which it makes sandboxes; "" is not known
	handlers     []string // of pods, beside the default; older runtimes do not tell
	recurses     bool     // it can make the mounts below a read-only mount read-only too
}

// defaults are the directories that CRI-O and containerd use unless told otherwise.
var defaults = settings{bin: "/opt/cni/bin", conf: "/etc/cni/net.d"}

const (
	// confFile sorts before what others may have put there: runtimes take the first.
	confFile = "00-peapod.conflist"
	// networkWait is how long the runtime may take to see its network's configuration.
	networkWait = 30 * time.Second
	networkPoll = 50 * time.Millisecond
)

// openNetwork makes this binary the runtime's network plugin, answers it, and waits until the runtime has seen it.
func (e *Executor) openNetwork(ctx context.Context) error {
	r, err := e.runtime.Status(ctx, &cri.StatusRequest{Verbose: true})
	if err != nil {
		return err
	}
	told, err := readConfig(r.Info)
	if err != nil {
		return err
	}
	for _, h := range r.RuntimeHandlers {
		if h.Name == "" { // the default
			told.recurses = h.Features.GetRecursiveReadOnlyMounts()
		} else {
			told.handlers = append(told.handlers, h.Name)
		}
	}
	e.told = told
	if err := e.installPlugin(); err != nil {
		return fmt.Errorf("making the pod network known to it: %w", err)
	}
	e.work.Go(e.serveNetwork)
	deadline := time.Now().Add(networkWait)
	for !networkReady(r) {
		if time.Now().After(deadline) {
			return fmt.Errorf("it does not take up the network configuration %s: %s", filepath.Join(told.conf, confFile), notReady(r))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(networkPoll):
		}
		if r, err = e.runtime.Status(ctx, &cri.StatusRequest{}); err != nil {
			return err
		}
	}
	return nil
}

var errSystemd = errors.New("it makes cgroups by systemd, but pods have cgroups of the agent's here: set SystemdCgroup = false for containerd's default runtime, or cgroup_manager = \"cgroupfs\" for CRI-O")

// checkCgroups asks who makes cgroups. Runtimes before containerd 2.0 and CRI-O 1.28 do not know the question.
func (e *Executor) checkCgroups(ctx context.Context) error {
	r, err := e.runtime.RuntimeConfig(ctx, &cri.RuntimeConfigRequest{})
	if status.Code(err) == codes.Unimplemented {
		return nil
	}
	if err != nil {
		return err
	}
	if r.Linux != nil && r.Linux.CgroupDriver == cri.CgroupDriver_SYSTEMD {
		return errSystemd
	}
	return nil
}

// readConfig reads from a verbose status what containerd tells of its configuration. CRI-O tells nothing of the kind.
func readConfig(info map[string]string) (settings, error) {
	var v struct {
		CNI struct {
			BinDir  string   `json:"binDir"`
			BinDirs []string `json:"binDirs"` // from containerd 2.1 on
			ConfDir string   `json:"confDir"`
		} `json:"cni"`
		SandboxImage string `json:"sandboxImage"`
		Containerd   struct {
			DefaultRuntimeName string `json:"defaultRuntimeName"`
			Runtimes           map[string]struct {
				Options map[string]any `json:"options"`
			} `json:"runtimes"`
		} `json:"containerd"`
	}
	out := defaults
	if info["config"] == "" {
		return out, nil
	}
	if err := json.Unmarshal([]byte(info["config"]), &v); err != nil {
		return out, fmt.Errorf("reading its configuration: %w", err)
	}
	if systemd, _ := v.Containerd.Runtimes[v.Containerd.DefaultRuntimeName].Options["SystemdCgroup"].(bool); systemd {
		return out, errSystemd
	}
	if len(v.CNI.BinDirs) > 0 {
		out.bin = v.CNI.BinDirs[0]
	}
	if v.CNI.BinDir != "" {
		out.bin = v.CNI.BinDir
	}
	if v.CNI.ConfDir != "" {
		out.conf = v.CNI.ConfDir
	}
	out.sandboxImage = v.SandboxImage
	return out, nil
}

func (e *Executor) socket() string { return filepath.Join(e.cfg.StateDir, "cni.sock") }

// installPlugin puts the plugin where the runtime looks for it, and then what names it. Somebody else's loopback plugin
// is as good as ours.
func (e *Executor) installPlugin() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, dir := range []string{e.told.bin, e.told.conf} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := link(self, filepath.Join(e.told.bin, cni.Program)); err != nil {
		return err
	}
	loopback := filepath.Join(e.told.bin, cni.Loopback)
	if _, err := os.Stat(loopback); errors.Is(err, fs.ErrNotExist) { // Stat follows links: one of ours may lead to a binary that has gone
		if err := link(self, loopback); err != nil {
			return err
		}
	}
	conf, err := cni.Config(e.socket())
	if err != nil {
		return err
	}
	file := filepath.Join(e.told.conf, confFile)
	if have, err := os.ReadFile(file); err == nil && string(have) == string(conf) {
		return nil
	}
	if err := os.WriteFile(file+".new", conf, 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// link makes name a link to target, whatever it was before.
func link(target, name string) error {
	if have, err := os.Readlink(name); err == nil && have == target {
		return nil
	}
	if err := os.Remove(name + ".new"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, name+".new"); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// Uninstall takes away what the runtime was given of the pod network: for a node that will not come back.
func (e *Executor) Uninstall() error {
	faults := []error{os.Remove(filepath.Join(e.told.conf, confFile))}
	for _, name := range []string{cni.Program, cni.Loopback} {
		file := filepath.Join(e.told.bin, name)
		if self, err := os.Executable(); err == nil {
			if to, err := os.Readlink(file); err == nil && to == self {
				faults = append(faults, os.Remove(file))
			}
		}
	}
	return errors.Join(faults...)
}

// serveNetwork answers the plugin until Close.
func (e *Executor) serveNetwork() {
	m := http.NewServeMux()
	m.HandleFunc("POST /attach", func(w http.ResponseWriter, r *http.Request) {
		var q cni.Request
		err := json.NewDecoder(r.Body).Decode(&q)
		var a cni.Reply
		if err == nil {
			a.Addresses, err = e.cfg.Attach(r.Context(), q.PodUID, q.NetNS)
		}
		adminsock.Reply(w, a, err)
	})
	if err := adminsock.Serve(e.ctx, e.socket(), m); err != nil && e.ctx.Err() == nil {
		e.log.Error("pods of the container runtime will have no network", "error", err)
	}
}

func networkReady(r *cri.StatusResponse) bool {
	for _, c := range r.Status.GetConditions() {
		if c.Type == cri.NetworkReady {
			return c.Status
		}
	}
	return false
}

func notReady(r *cri.StatusResponse) string {
	for _, c := range r.Status.GetConditions() {
		if c.Type == cri.NetworkReady {
			return c.Message
		}
	}
	return "it says nothing of a network"
}
