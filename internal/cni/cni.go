package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/peapod-sh/peapod/internal/adminsock"
)

const (
	// Program is the plugin's name, under which a runtime finds it.
	Program = "peapod-cni"
	// Loopback is the name of the plugin that runtimes start for the loopback device of a sandbox.
	Loopback = "loopback"

	version = "0.4.0" // of the specification, in the configuration that Config makes
	timeout = time.Minute
)

// versions of the specification that results can be given in.
var versions = []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}

// Request asks the agent, at /attach of its socket, for a sandbox's addresses.
type Request struct{ PodUID, NetNS string }

// Reply is its answer, the primary address first.
type Reply struct{ Addresses []netip.Addr }

// Config is the list of plugins that the runtime is to be given: this one, asking at socket.
func Config(socket string) ([]byte, error) {
	return json.MarshalIndent(map[string]any{
		"cniVersion": version, "name": "peapod",
		"plugins": []any{map[string]any{"type": Program, "socket": socket}},
	}, "", "  ")
}

// settings are what the runtime writes to the plugin's standard input.
type settings struct {
	CNIVersion string `json:"cniVersion"`
	Socket     string `json:"socket"`
}

// fault is an error in the specification's form; codes from 100 on are the plugin's own.
type fault struct {
	CNIVersion string `json:"cniVersion"`
	Code       int    `json:"code"`
	Msg        string `json:"msg"`
}

// Main acts as the plugin if a runtime has started this process as one; handled is false if not.
func Main(program string, environ func(string) string, in io.Reader, out io.Writer) (code int, handled bool) {
	command, name := environ("CNI_COMMAND"), filepath.Base(program)
	if command == "" || name != Program && name != Loopback {
		return 0, false
	}
	var s settings
	if err := json.NewDecoder(in).Decode(&s); err != nil {
		return fail(out, s, fmt.Errorf("reading the network configuration: %w", err)), true
	}
	answer, err := run(command, name, s, environ)
	if err != nil {
		return fail(out, s, err), true
	}
	if answer != nil {
		if err := json.NewEncoder(out).Encode(answer); err != nil {
			return 1, true
		}
	}
	return 0, true
}

func fail(out io.Writer, s settings, err error) int {
	_ = json.NewEncoder(out).Encode(fault{s.CNIVersion, 100, err.Error()}) // the exit code tells it too
	return 1
}

func run(command, name string, s settings, environ func(string) string) (any, error) {
	switch command {
	case "VERSION":
		return map[string]any{"cniVersion": s.CNIVersion, "supportedVersions": versions}, nil
	case "ADD":
		if !slices.Contains(versions, s.CNIVersion) {
			return nil, fmt.Errorf("version %q of the network configuration is none of %v", s.CNIVersion, versions)
		}
		if name == Loopback {
			return addLoopback(s, environ("CNI_NETNS"))
		}
		return add(s, environ)
	}
	// DEL and CHECK: the agent releases addresses itself, when the pod is gone, and the link goes with its namespace.
	return nil, nil
}

// add asks the agent. The pod's UID comes with the sandbox's other names in CNI_ARGS (K=V;K=V).
func add(s settings, environ func(string) string) (any, error) {
	uid := argument(environ("CNI_ARGS"), "K8S_POD_UID")
	if uid == "" {
		return nil, fmt.Errorf("the runtime does not tell the pod's UID (K8S_POD_UID): it is too old")
	}
	body, err := json.Marshal(Request{PodUID: uid, NetNS: environ("CNI_NETNS")})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var r Reply
	if err := adminsock.Call(ctx, s.Socket, "POST", "/attach", bytes.NewReader(body), &r); err != nil {
		return nil, err
	}
	device := environ("CNI_IFNAME")
	var own []netip.Prefix
	for _, a := range r.Addresses {
		own = append(own, netip.PrefixFrom(a, a.BitLen()))
	}
	return result(s, device, environ("CNI_NETNS"), own...), nil
}

// result is the specification's, in the version of the configuration.
func result(s settings, device, ns string, addresses ...netip.Prefix) any {
	ips := []any{}
	for _, a := range addresses {
		ip := map[string]any{"interface": 0, "address": a.String()}
		if strings.HasPrefix(s.CNIVersion, "0.") {
			ip["version"] = map[bool]string{true: "4", false: "6"}[a.Addr().Is4()]
		}
		ips = append(ips, ip)
	}
	return map[string]any{
		"cniVersion": s.CNIVersion,
		"interfaces": []any{map[string]any{"name": device, "sandbox": ns}},
		"ips":        ips,
	}
}

func argument(args, name string) string {
	for pair := range strings.SplitSeq(args, ";") {
		if k, v, _ := strings.Cut(pair, "="); k == name {
			return v
		}
	}
	return ""
}

func addLoopback(s settings, ns string) (any, error) {
	f, err := os.Open(ns)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := loopbackUp(int(f.Fd())); err != nil {
		return nil, fmt.Errorf("setting lo up: %w", err)
	}
	return result(s, "lo", ns, netip.MustParsePrefix("127.0.0.1/8")), nil
}
