package oci

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/agent/runtime"
)

func (n *node) pod(e *Executor, spec runtime.SandboxSpec) {
	n.t.Helper()
	if _, err := e.List(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
	if _, err := e.StartSandbox(n.t.Context(), spec); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) add(e *Executor, spec runtime.ContainerSpec) runtime.Container {
	n.t.Helper()
	c, err := e.StartContainer(n.t.Context(), spec)
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

// want runs a shell test in a container.
func (n *node) want(e *Executor, id, script string) {
	n.t.Helper()
	if out, code := n.exec(e, id, "sh", "-c", script); code != 0 {
		n.t.Errorf("in %s: %s: exit code %d, %q", id, script, code, out)
	}
}

// In a pod with one PID namespace the containers see each other, the pause is process 1, shows nothing of the node,
// and reaps; the end of one container takes its own processes and no other's.
func TestSharedProcesses(t *testing.T) {
	n := newNode(t)
	e := n.open()
	n.pod(e, runtime.SandboxSpec{PodUID: "p", Name: "p", Hostname: "p", SharePID: true})
	a := n.spec("p", "a", "sleep 1001 & exec sleep 1002")
	b := n.spec("p", "b", "exec sleep 1003")
	b.CapAdd = []string{"SYS_PTRACE"}
	n.add(e, a)
	n.add(e, b)
	n.want(e, "b", "ps | grep -v grep | grep -q 'sleep 1002' && ps | grep -v grep | grep -q 'sleep 1001' && ! test $$ = 1")
	n.want(e, "b", "test \"$(cat /proc/1/comm)\" = pause && test -z \"$(ls /proc/1/root/ 2>/dev/null)\"")
	n.want(e, "b", "grep -q 'CapBnd:.0*$' /proc/1/status && grep -q 'NoNewPrivs:.1' /proc/1/status")
	n.want(e, "b", "sh -c 'sleep 0 & exec true'; i=0; while grep -q '^State:.Z' /proc/[0-9]*/status 2>/dev/null; do i=$((i+1)); test $i -lt 1000 || exit 1; done")
	if err := e.Signal(t.Context(), "a", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if x := n.exit(e); x.ID != "a" || x.ExitCode != 137 {
		t.Errorf("ended: %+v", x)
	}
	n.want(e, "b", "ps | grep -v grep | grep -q 'sleep 1003' && ! ps | grep -v grep | grep -q 'sleep 100[12]'")
}

// A container that ends by itself leaves no process behind in a namespace that goes on.
func TestSharedProcessesEnd(t *testing.T) {
	n := newNode(t)
	e := n.open()
	n.pod(e, runtime.SandboxSpec{PodUID: "p", SharePID: true})
	n.add(e, n.spec("p", "b", "exec sleep 1003"))
	n.add(e, n.spec("p", "a", "sleep 1001 & exit 3"))
	if x := n.exit(e); x.ID != "a" || x.ExitCode != 3 {
		t.Errorf("ended: %+v", x)
	}
	n.want(e, "b", "i=0; while ps | grep -v grep | grep -q 'sleep 1001'; do i=$((i+1)); test $i -lt 1000 || exit 1; done")
}

// Containers share memory and queues; /dev/shm is the pod's and hidden from other pods.
func TestSharedMemory(t *testing.T) {
	n := newNode(t)
	e := n.open()
	n.pod(e, runtime.SandboxSpec{PodUID: "p"})
	n.pod(e, runtime.SandboxSpec{PodUID: "q"})
	for _, id := range []string{"a", "b"} {
		n.add(e, n.spec("p", id, "exec sleep 1000"))
	}
	n.add(e, n.spec("q", "c", "exec sleep 1000"))
	n.want(e, "a", "echo word > /dev/shm/x")
	n.want(e, "b", "test $(cat /dev/shm/x) = word")
	n.want(e, "c", "! test -e /dev/shm/x")
	var ipc []string
	for _, id := range []string{"a", "b", "c"} {
		out, _ := n.exec(e, id, "readlink", "/proc/1/ns/ipc")
		ipc = append(ipc, out)
	}
	if ipc[0] != ipc[1] || ipc[0] == ipc[2] {
		t.Errorf("IPC namespaces %q", ipc)
	}
}

// A container with a target sees its processes, though the pod shares none; it ends when the target does.
func TestTarget(t *testing.T) {
	n := newNode(t)
	e := n.open()
	n.pod(e, runtime.SandboxSpec{PodUID: "p"})
	n.add(e, n.spec("p", "a", "exec sleep 1002"))
	debug := n.spec("p", "debug", "sleep 1004 & exec sleep 1003")
	debug.TargetID = "a"
	n.add(e, debug)
	n.want(e, "debug", "ps | grep -v grep | grep -q '1 .*sleep 1002'")
	if err := e.Signal(t.Context(), "debug", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if x := n.exit(e); x.ID != "debug" {
		t.Errorf("ended: %+v", x)
	}
	n.want(e, "a", "! ps | grep -v grep | grep -q 'sleep 100[34]'")
	again := n.spec("p", "again", "exec sleep 1003")
	again.TargetID = "nobody"
	if _, err := e.StartContainer(t.Context(), again); err == nil {
		t.Error("a target that is not there was taken")
	}
}

// With the node's namespaces a container sees what the node sees.
func TestHostNamespaces(t *testing.T) {
	n := newNode(t)
	e := n.open()
	n.pod(e, runtime.SandboxSpec{PodUID: "p", HostNetwork: true, HostPID: true, HostIPC: true})
	n.add(e, n.spec("p", "a", "sleep 1001 & exec sleep 1002"))
	for _, ns := range []string{"net", "ipc", "uts", "pid"} {
		own, err := os.Readlink("/proc/self/ns/" + ns)
		if err != nil {
			t.Fatal(err)
		}
		if out, _ := n.exec(e, "a", "readlink", "/proc/self/ns/"+ns); strings.TrimSpace(out) != own {
			t.Errorf("namespace %s is %s, the node's is %s", ns, out, own)
		}
	}
	if err := e.Signal(t.Context(), "a", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	n.exit(e)
	if pids, err := e.cgroups.members(e.cgroups.container("p", "a")); err != nil || len(pids) > 0 {
		t.Errorf("left: %v %v", pids, err)
	}
}

// A pod with users of its own: its root is nobody on the node, owns the pod's namespaces and the image's files, and
// commands are in there too. Its range survives the executor and is used again afterwards.
func TestOwnUsers(t *testing.T) {
	n := newNode(t)
	e := n.open()
	n.pod(e, runtime.SandboxSpec{PodUID: "p", Hostname: "p", OwnUsers: true, SharePID: true})
	n.pod(e, runtime.SandboxSpec{PodUID: "q", OwnUsers: true})
	volume := n.emptyLayer("volume")
	spec := n.spec("p", "a", "echo word > /dev/stdout; touch /made; exec sleep 1002")
	spec.Mounts = []runtime.Mount{{Source: volume, Target: "/volume"}}
	spec.CapAdd = []string{"NET_ADMIN"}
	c := n.add(e, spec)
	n.add(e, n.spec("q", "b", "exec sleep 1002"))
	n.want(e, "a", "grep -q '^ *0 *65536 *65536$' /proc/self/uid_map && grep -q '^ *0 *65536 *65536$' /proc/self/gid_map")
	n.want(e, "b", "grep -q '^ *0 *131072 *65536$' /proc/self/uid_map")
	n.want(e, "a", "test $(id -u) = 0")
	n.want(e, "a", "touch /volume/x /bin/new")
	n.want(e, "a", "busybox ip link set lo mtu 1400")
	n.want(e, "a", "test $(ls -ln / | grep ' bin$' | tr -s ' ' | cut -d' ' -f3) = 0")
	var st unix.Stat_t
	if err := unix.Stat(volume+"/x", &st); err != nil || st.Uid != 0 {
		t.Errorf("on the node the volume's file belongs to %d, %v", st.Uid, err)
	}
	if b, err := os.ReadFile("/proc/" + itoa(c.PID) + "/status"); err != nil || !strings.Contains(string(b), "Uid:\t65536\t65536") {
		t.Errorf("on the node the container runs as %s %v", b, err)
	}
	if got := n.log("a"); got != "word\n" {
		t.Errorf("log %q", got)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = n.open()
	n.pod(e, runtime.SandboxSpec{PodUID: "r", OwnUsers: true})
	n.want(e, "a", "grep -q '^ *0 *65536 *65536$' /proc/self/uid_map")
	if base := e.pods["r"].record.UserBase; base != 3*rangeSize {
		t.Errorf("the third pod has range %d", base)
	}
	if err := e.RemoveSandbox(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(e.publicRoot("a"))); err == nil {
		t.Error("a mount point is left")
	}
	if st, err := os.Stat(filepath.Dir(e.publicRoot("b"))); err != nil || st.Mode().Perm() != 0o710 {
		t.Errorf("others of the node may enter a root file system: %v %v", st, err)
	}
	n.pod(e, runtime.SandboxSpec{PodUID: "s", OwnUsers: true})
	if base := e.pods["s"].record.UserBase; base != rangeFirst {
		t.Errorf("a free range is not used again: %d", base)
	}
}

// An agent that dies while it mounts the layers for a pod with users of its own leaves no mount behind, and the image
// loses nothing when the next agent cleans up.
func TestMappedLayersOfADeadAgent(t *testing.T) {
	n := newNode(t)
	e := n.open()
	n.pod(e, runtime.SandboxSpec{PodUID: "p", OwnUsers: true})
	p := e.pods["p"]
	r := containerRecord{Spec: n.spec("p", "c", "true"), BootID: p.record.BootID, UserBase: p.record.UserBase, Rootfs: e.publicRoot("c")}
	dir := e.containerDir("c")
	if err := os.MkdirAll(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := e.saveContainer(&r); err != nil {
		t.Fatal(err)
	}
	users, err := os.Open("/proc/" + itoa(p.record.Pause.PID) + "/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	defer users.Close()
	if _, err := attachMapped(dir, []string{n.layer, n.emptyLayer("second")}, users); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(r.Rootfs, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/lower/0/x", nil, 0o600); err == nil {
		t.Error("an image's layer can be written through its mount")
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	n.open()
	if _, err := os.Stat(n.layer + "/bin/busybox"); err != nil {
		t.Errorf("the image has lost a file: %v", err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), n.dir+"/state/containers") {
		t.Errorf("mounts are left: %v\n%s", err, mounts)
	}
	for _, d := range []string{dir, r.Rootfs, filepath.Dir(r.Rootfs)} {
		if _, err := os.Stat(d); err == nil {
			t.Errorf("%s is left", d)
		}
	}
}
