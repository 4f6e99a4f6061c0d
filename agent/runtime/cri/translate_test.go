package cri

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/peapod-sh/peapod/agent/runtime"
)

func TestNamespaces(t *testing.T) {
	const pod, own, node = cri.NamespaceMode_POD, cri.NamespaceMode_CONTAINER, cri.NamespaceMode_NODE
	for _, c := range []struct {
		spec              runtime.SandboxSpec
		network, pid, ipc cri.NamespaceMode
	}{
		{runtime.SandboxSpec{}, pod, own, pod},
		{runtime.SandboxSpec{SharePID: true}, pod, pod, pod},
		{runtime.SandboxSpec{HostNetwork: true}, node, own, pod},
		{runtime.SandboxSpec{HostPID: true, HostIPC: true}, pod, node, node},
	} {
		n := namespaces(c.spec)
		if n.Network != c.network || n.Pid != c.pid || n.Ipc != c.ipc {
			t.Errorf("%+v: %v", c.spec, n)
		}
	}
}

func TestUsers(t *testing.T) {
	for user, want := range map[string]string{
		"": "- -", "0": "0 -", "1000": "1000 -", "1000:0": "1000 0", "www": "www -", "www:33": "www 33",
	} {
		s, err := security(runtime.ContainerSpec{User: user}, place{})
		if err != nil {
			t.Fatal(err)
		}
		got := "-"
		if s.RunAsUsername != "" {
			got = s.RunAsUsername
		}
		if s.RunAsUser != nil {
			got = fmt.Sprint(s.RunAsUser.Value)
		}
		group := "-"
		if s.RunAsGroup != nil {
			group = fmt.Sprint(s.RunAsGroup.Value)
		}
		if got += " " + group; got != want {
			t.Errorf("user %q is %q, want %q", user, got, want)
		}
	}
	if _, err := security(runtime.ContainerSpec{User: "1:staff"}, place{}); err == nil {
		t.Error("a group with a name was taken")
	}
}

func TestProtection(t *testing.T) {
	for _, c := range []struct {
		spec      runtime.ContainerSpec
		protected bool
	}{{runtime.ContainerSpec{}, true}, {runtime.ContainerSpec{UnmaskedProc: true}, false}, {runtime.ContainerSpec{Privileged: true}, false}} {
		s, err := security(c.spec, place{})
		if err != nil || slices.Contains(s.MaskedPaths, "/proc/kcore") != c.protected || slices.Contains(s.ReadonlyPaths, "/proc/sys") != c.protected {
			t.Errorf("%+v: hidden %v, read-only %v, %v", c.spec, s.MaskedPaths, s.ReadonlyPaths, err)
		}
	}
	s, err := security(runtime.ContainerSpec{Seccomp: "/a/b.json", AppArmor: runtime.ProfileDefault}, place{target: "x"})
	if err != nil || s.Seccomp.ProfileType != cri.SecurityProfile_Localhost || s.Seccomp.LocalhostRef != "/a/b.json" ||
		s.Apparmor.ProfileType != cri.SecurityProfile_RuntimeDefault || s.NamespaceOptions.Pid != cri.NamespaceMode_TARGET || s.NamespaceOptions.TargetId != "x" {
		t.Errorf("%+v, %v", s, err)
	}
}

// What a runtime would leave out in silence is refused.
func TestMounts(t *testing.T) {
	for _, c := range []struct {
		mount    runtime.Mount
		recurses bool
		want     string // of the error; "" is none
		made     int
	}{
		{runtime.Mount{Source: "/a", Target: "/b", Propagation: runtime.PropagateBoth}, false, "", 1},
		{runtime.Mount{FSType: "tmpfs", Target: "/dev/shm"}, false, "", 0},
		{runtime.Mount{FSType: "tmpfs", Target: "/cache"}, false, "/cache", 0},
		{runtime.Mount{Source: "/a", Target: "/b", NoExec: true}, false, "embedded runtime", 0},
		{runtime.Mount{Source: "/a", Target: "/b", ReadOnly: true, RecursiveReadOnly: true}, false, "read-only", 0},
		{runtime.Mount{Source: "/a", Target: "/b", ReadOnly: true, RecursiveReadOnly: true}, true, "", 1},
	} {
		out, err := mountsOf([]runtime.Mount{c.mount}, c.recurses)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || len(out) != c.made {
			t.Errorf("%+v: %v, %v", c.mount, out, err)
		}
		if err == nil && c.made == 1 && (out[0].HostPath != "/a" || out[0].Readonly != c.mount.ReadOnly || out[0].Propagation != propagations[c.mount.Propagation]) {
			t.Errorf("%+v became %+v", c.mount, out[0])
		}
	}
}

// A sandbox tells what it was made of, whoever asks later.
func TestSandboxRemembers(t *testing.T) {
	spec := runtime.SandboxSpec{PodUID: "u", Namespace: "ns", Name: "p", Hostname: "h", SharePID: true, Privileged: true,
		Resources: runtime.Resources{CPUShares: 2}, Sysctls: map[string]string{"net.core.somaxconn": "7"}}
	c, err := sandboxConfig(spec, "owner", "/owner/pods/u")
	if err != nil {
		t.Fatal(err)
	}
	var back runtime.SandboxSpec
	if err := json.Unmarshal([]byte(c.Annotations[annotationSpec]), &back); err != nil || !reflect.DeepEqual(back, spec) {
		t.Errorf("%v: %+v", err, back)
	}
	if c.Linux.CgroupParent != "/owner/pods/u" || !c.Linux.SecurityContext.Privileged || c.Linux.Sysctls["net.core.somaxconn"] != "7" || c.Labels[labelOwner] != "owner" {
		t.Errorf("%+v", c)
	}
}

func TestReadConfig(t *testing.T) {
	for _, c := range []struct {
		text, want string
		fails      bool
	}{
		{"", "/opt/cni/bin /etc/cni/net.d ", false},
		{`{"cni":{"binDir":"/b","confDir":"/c"},"sandboxImage":"pause:1"}`, "/b /c pause:1", false},
		{`{"cni":{"binDirs":["/b1","/b2"],"confDir":"/c"}}`, "/b1 /c ", false},
		{`{"containerd":{"defaultRuntimeName":"runc","runtimes":{"runc":{"options":{"SystemdCgroup":true}}}}}`, "", true},
		{`{"containerd":{"defaultRuntimeName":"runc","runtimes":{"runc":{"options":{"SystemdCgroup":false}}}}}`, "/opt/cni/bin /etc/cni/net.d ", false},
		{`[`, "", true},
	} {
		s, err := readConfig(map[string]string{"config": c.text})
		if got := s.bin + " " + s.conf + " " + s.sandboxImage; (err != nil) != c.fails || err == nil && got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.text, got, err, c.want)
		}
	}
}
