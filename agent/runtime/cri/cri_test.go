package cri

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/peapod-sh/peapod/agent/runtime"
)

func (n *node) start(t *testing.T, e *Executor, spec runtime.ContainerSpec) runtime.Container {
	t.Helper()
	if _, err := e.StartSandbox(t.Context(), runtime.SandboxSpec{PodUID: spec.PodUID, Namespace: "ns", Name: spec.PodUID, Hostname: "guest"}); err != nil {
		t.Fatal(err)
	}
	c, err := e.StartContainer(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func list(t *testing.T, e *Executor) []runtime.Sandbox {
	t.Helper()
	l, err := e.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func exit(t *testing.T, e *Executor) runtime.Container {
	t.Helper()
	select {
	case c := <-e.Exits():
		return c
	case <-time.After(patience):
		t.Fatal("no end was delivered")
		panic("unreachable")
	}
}

func noExit(t *testing.T, e *Executor) {
	t.Helper()
	select {
	case c := <-e.Exits():
		t.Errorf("an end was delivered that nobody expects: %+v", c)
	case <-time.After(50 * time.Millisecond):
	}
}

func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

const forever = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"

// lockedBuffer is written by one goroutine and read by another.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// One containerd serves all of these, since it is the same for all.
func TestWithContainerd(t *testing.T) {
	n := newNode(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *node)
	}{
		{"container", testContainer}, {"logs", testLogs}, {"streams", testStreams}, {"terminal", testTerminal}, {"attach", testAttach},
		{"images", testImages}, {"removed behind our back", testRemovedBehind}, {"containerd dies", testRuntimeDies},
		{"agent dies while it removes", testDiesRemoving}, {"what cannot start", testCannotStart}, {"leftovers", testLeftovers}, {"limits", testLimits}, {"plugins", testPlugins}, {"others", testOthers},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, n) })
	}
}

// testContainer: what a container sees of what was asked for.
func testContainer(t *testing.T, n *node) {
	e := n.open(t)
	list(t, e)
	file := filepath.Join(n.d.Dir, "mounted")
	if err := os.WriteFile(file, []byte("content\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	spec := n.spec("pod-c", "see", forever)
	spec.Env = append(spec.Env, "GREETING=hel=lo")
	spec.Cwd, spec.ReadOnlyRootfs, spec.NoNewPrivileges = "/tmp", true, true
	spec.User, spec.AdditionalGIDs, spec.CapDrop = "1234:2345", []uint32{77}, []string{"ALL"}
	spec.Mounts = []runtime.Mount{{Source: file, Target: "/mounted", ReadOnly: true}, {FSType: "tmpfs", Target: "/dev/shm"}}
	spec.Seccomp = runtime.ProfileDefault
	n.start(t, e, spec)
	for command, want := range map[string]string{
		"echo $GREETING":                                     "hel=lo\n",
		"readlink /proc/self/cwd":                            "/tmp\n",
		"id":                                                 "uid=1234 gid=2345 groups=77,2345\n",
		"hostname":                                           "guest\n",
		"cat /mounted":                                       "content\n",
		"touch /mounted 2>/dev/null || echo no":              "no\n",
		"touch /bin/x 2>/dev/null || echo no":                "no\n",
		"touch /dev/shm/x && echo yes":                       "yes\n",
		"grep CapEff /proc/self/status":                      "CapEff:\t0000000000000000\n",
		"grep Seccomp: /proc/self/status":                    "Seccomp:\t2\n",
		"grep NoNewPrivs /proc/self/status":                  "NoNewPrivs:\t1\n",
		"head -c 1 /proc/keys | cat; echo masked":            "masked\n",
		"echo 1 2>/dev/null >/proc/sysrq-trigger || echo no": "no\n",
	} {
		var out, errs bytes.Buffer
		code, err := e.Exec(t.Context(), "see", runtime.ExecSpec{Args: []string{"sh", "-c", command}, Stdout: &out, Stderr: &errs, Buffered: true})
		got := strings.ReplaceAll(out.String(), "groups=2345,77", "groups=77,2345")
		if err != nil || code != 0 || got != want {
			t.Errorf("%s: code %d, %v, %q, want %q (%s)", command, code, err, out.String(), want, errs.String())
		}
	}
	writes := n.spec("pod-c", "writes", "echo layer >/written; "+forever)
	if _, err := e.StartContainer(t.Context(), writes); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what a container writes is in its layer", func() error {
		b, err := os.ReadFile(filepath.Join(e.WritableLayer("writes"), "written"))
		if err == nil && string(b) != "layer\n" {
			err = fmt.Errorf("%q", b)
		}
		return err
	})
	if l := list(t, e); len(l) != 1 || !strings.HasPrefix(l[0].NetNS, "/proc/") {
		t.Errorf("listed as %+v", l)
	}
	remove(t, e, "pod-c")
	exit(t, e)
	exit(t, e)
}

func remove(t *testing.T, e *Executor, uid string) {
	t.Helper()
	if err := e.RemoveSandbox(context.Background(), uid); err != nil {
		t.Error(err)
	}
}

func testImages(t *testing.T, n *node) {
	e := n.open(t)
	i, err := e.Images().Get(t.Context(), testImage)
	if err != nil || i == nil {
		t.Fatal(i, err)
	}
	if fmt.Sprintf("%v %v %v %s %s %s", i.Env, i.Entrypoint, i.Cmd, i.WorkingDir, i.User, i.StopSignal) != "[PATH=/bin] [sleep] [2147483647] / 0 SIGQUIT" || i.Size == 0 {
		t.Errorf("the image is %+v", i)
	}
	if i, err := e.Images().Get(t.Context(), "peapod.test/none:1"); i != nil || err != nil {
		t.Errorf("an image that is not there: %+v, %v", i, err)
	}
	if _, err := e.Images().Pull(t.Context(), "127.0.0.1:1/none:1", Credentials{}); err == nil {
		t.Error("an image was pulled from nowhere")
	}
	all, err := e.Images().List(t.Context())
	if err != nil || len(all) != 1 || all[0].ID != i.ID {
		t.Errorf("the images are %+v, %v", all, err)
	}
	used, err := e.ImagesInUse(t.Context())
	if err != nil || !strings.Contains(fmt.Sprint(used), testImage) {
		t.Errorf("in use are %v, %v: the sandboxes' image is missing", used, err)
	}
	if dir, err := e.Images().Dir(t.Context()); err != nil || !strings.HasPrefix(dir, n.d.Dir) {
		t.Errorf("images are in %s, %v", dir, err)
	}
	if !strings.HasPrefix(e.Version(), "containerd://1.") && !strings.HasPrefix(e.Version(), "containerd://v") && !strings.HasPrefix(e.Version(), "containerd://2.") {
		t.Errorf("the runtime is %s", e.Version())
	}
}

// testRemovedBehind: what somebody removes with the runtime's own tool ends, with a code that nobody knows.
func testRemovedBehind(t *testing.T, n *node) {
	e := n.open(t)
	list(t, e)
	n.start(t, e, n.spec("pod-r", "behind", forever))
	c, err := e.find("behind")
	if err != nil {
		t.Fatal(err)
	}
	name, _ := c.snapshot()
	if err := e.unmakeContainer(t.Context(), "behind"); err != nil { // as crictl rm --force NAME does
		t.Fatal(err)
	}
	if x := exit(t, e); x.ID != "behind" || x.Running || x.ExitCode == 0 {
		t.Errorf("%s ended as %+v", name, x)
	}
	if err := e.RemoveContainer(t.Context(), "behind"); err != nil {
		t.Error(err)
	}
	remove(t, e, "pod-r")
	noExit(t, e)
}

// testRuntimeDies: pods outlive the runtime, and an end while it was away is heard.
func testRuntimeDies(t *testing.T, n *node) {
	e := n.open(t)
	list(t, e)
	c := n.start(t, e, n.spec("pod-d", "dies", forever))
	stays := n.start(t, e, n.spec("pod-d", "stays", forever))
	n.d.Kill()
	if err := syscall.Kill(c.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	serve(t, n.d)
	if x := exit(t, e); x.ID != "dies" || x.ExitCode != 137 {
		t.Errorf("killed while the runtime was away, it ended as %+v", x)
	}
	noExit(t, e)
	if _, st, _ := e.states("stays"); !st.Running || st.PID != stays.PID {
		t.Errorf("the other container is %+v", st)
	}
	remove(t, e, "pod-d")
	exit(t, e)
}

// states is a container as it is known here.
func (e *Executor) states(id string) (string, runtime.Container, error) {
	c, err := e.find(id)
	if err != nil {
		return "", runtime.Container{}, err
	}
	name, st := c.snapshot()
	return name, st, nil
}

// testDiesRemoving: a sandbox was removed, but nobody took the end of its container before the agent died.
func testDiesRemoving(t *testing.T, n *node) {
	e := n.open(t) // List is not called, so nothing is delivered
	n.start(t, e, n.spec("pod-x", "unheard", "exit 6"))
	remove(t, e, "pod-x")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = n.open(t)
	if l := list(t, e); len(l) != 0 {
		t.Errorf("there is %+v", l)
	}
	if x := exit(t, e); x.ID != "unheard" || x.ExitCode != 6 || x.PodUID != "pod-x" {
		t.Errorf("ended as %+v", x)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = n.open(t)
	list(t, e)
	noExit(t, e)
	if left, _ := filepath.Glob(filepath.Join(n.cfg.StateDir, "ends", "*")); len(left) > 0 {
		t.Errorf("records are left: %v", left)
	}
}

// testCannotStart: what cannot be started leaves nothing, and does not stand in the way of the next try.
func testCannotStart(t *testing.T, n *node) {
	e := n.open(t)
	list(t, e)
	spec := n.spec("pod-n", "cannot", "true")
	spec.Args = []string{"/no/such/program"}
	if _, err := e.StartSandbox(t.Context(), runtime.SandboxSpec{PodUID: "pod-n", Namespace: "ns", Name: "pod-n"}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := e.StartContainer(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "/no/such/program") {
			t.Errorf("a program that is not there: %v", err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.StartContainer(gone, n.spec("pod-n", "cannot", forever)); !strings.Contains(fmt.Sprint(err), context.Canceled.Error()) {
		t.Errorf("for a caller who has gone: %v", err)
	}
	if _, err := e.StartContainer(t.Context(), n.spec("pod-n", "cannot", "exit 3")); err != nil {
		t.Fatal(err)
	}
	if x := exit(t, e); x.ExitCode != 3 {
		t.Errorf("ended as %+v", x)
	}
	remove(t, e, "pod-n")
	if _, err := e.StartSandbox(t.Context(), runtime.SandboxSpec{PodUID: "pod-u", Name: "u", OwnUsers: true}); err == nil || !strings.Contains(err.Error(), "hostUsers") {
		t.Errorf("a pod with users of its own: %v", err)
	}
	bad := n.attachFails()
	if _, err := e.StartSandbox(t.Context(), runtime.SandboxSpec{PodUID: "pod-f", Name: "f"}); err == nil || !strings.Contains(err.Error(), "no address is left") {
		t.Errorf("without an address: %v", err)
	}
	bad()
	if _, err := e.StartSandbox(t.Context(), runtime.SandboxSpec{PodUID: "pod-f", Name: "f"}); err != nil {
		t.Errorf("with an address again: %v", err)
	}
	remove(t, e, "pod-f")
}

// testLeftovers: what an agent was making when it was killed is found by the next one, or swept.
func testLeftovers(t *testing.T, n *node) {
	e := n.open(t)
	list(t, e)
	sandbox := runtime.SandboxSpec{PodUID: "pod-left", Namespace: "ns", Name: "pod-left"}
	c := n.start(t, e, n.spec("pod-left", "left", forever))
	// As if their making had ended after this agent looked.
	e.mu.Lock()
	delete(e.pods, "pod-left")
	old := e.containers["left"]
	delete(e.containers, "left")
	e.mu.Unlock()
	e.unwatch(old)
	if _, err := e.StartSandbox(t.Context(), sandbox); err != nil {
		t.Fatal(err)
	}
	again, err := e.StartContainer(t.Context(), n.spec("pod-left", "left", forever))
	if err != nil || again.PID != c.PID {
		t.Errorf("started again, it is %+v (%v), it was %+v", again, err, c)
	}
	e.mu.Lock()
	delete(e.pods, "pod-left")
	e.mu.Unlock()
	if err := e.cgroups.Make("pod-cgroup", runtime.Resources{CPUShares: 2}); err != nil {
		t.Fatal(err)
	}
	if err := e.sweep(); err != nil {
		t.Error(err)
	}
	if x := exit(t, e); x.ID != "left" || x.ExitCode != 137 {
		t.Errorf("swept, it ended as %+v", x)
	}
	if ids, err := e.sandboxesOf(t.Context(), "pod-left"); err != nil || len(ids) > 0 {
		t.Errorf("after the sweep there are %v, %v", ids, err)
	}
	if left, err := e.cgroups.Pods(); err != nil || len(left) > 0 {
		t.Errorf("after the sweep there are the cgroups %v, %v", left, err)
	}
}

// testLimits: the pod's limits are those of its cgroup, and a container's can be changed while it runs.
func testLimits(t *testing.T, n *node) {
	e := n.open(t)
	list(t, e)
	if _, err := e.StartSandbox(t.Context(), runtime.SandboxSpec{PodUID: "pod-m", Name: "m", Resources: runtime.Resources{MemoryBytes: 64 << 20, CPUShares: 300}}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.StartContainer(t.Context(), n.spec("pod-m", "limits", "dd if=/dev/zero of=/dev/null bs=256M count=1; exit $?")); err != nil {
		t.Fatal(err)
	}
	if x := exit(t, e); x.ExitCode != 137 {
		t.Errorf("a container took more memory than its pod may have: %+v", x)
	}
	again := n.spec("pod-m", "limits-2", forever)
	again.Resources = runtime.Resources{MemoryBytes: 48 << 20}
	if _, err := e.StartContainer(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if err := e.Resize(t.Context(), "pod-m", "limits-2", runtime.Resources{MemoryBytes: 1 << 10}); err == nil || !strings.Contains(err.Error(), "below current usage") {
		t.Errorf("less memory than is in use: %v", err)
	}
	if err := e.Resize(t.Context(), "pod-m", "limits-2", runtime.Resources{MemoryBytes: 32 << 20}); err != nil {
		t.Error(err)
	}
	name, _, _ := e.states("limits-2")
	limit := func() string {
		for _, f := range []string{"/sys/fs/cgroup/memory" + e.cgroups.Path("pod-m", name) + "/memory.limit_in_bytes", "/sys/fs/cgroup" + e.cgroups.Path("pod-m", name) + "/memory.max"} {
			if b, err := os.ReadFile(f); err == nil {
				return strings.TrimSpace(string(b))
			}
		}
		return "none"
	}
	if got := limit(); got != fmt.Sprint(32<<20) {
		t.Errorf("the container's limit is %s", got)
	}
	remove(t, e, "pod-m")
	exit(t, e)
}

// testOthers: another node's agent over the same runtime sees nothing of ours.
func testOthers(t *testing.T, n *node) {
	e := n.open(t)
	list(t, e)
	n.start(t, e, n.spec("pod-o", "mine", forever))
	other := n.cfg
	other.CgroupParent += "-other"
	other.StateDir += "-other"
	o, err := New(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	if l := list(t, o); len(l) != 0 {
		t.Errorf("another node has our pods: %+v", l)
	}
	if err := o.RemoveSandbox(t.Context(), "pod-o"); err != nil {
		t.Error(err)
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
	if _, st, err := e.states("mine"); err != nil || !st.Running {
		t.Errorf("another node has ended our container: %+v, %v", st, err)
	}
	remove(t, e, "pod-o")
	exit(t, e)
}
