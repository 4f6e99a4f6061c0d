package oci

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/supervisor"
)

const (
	agentEnv    = "OCI_TEST_AGENT"
	writers     = 4
	writerLines = 150000
	agentKills  = 20
)

// TestMain lets this binary be the agent that the survival test kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(agentEnv); dir != "" {
		if err := runTestAgent(dir); err != nil {
			fmt.Fprintln(os.Stderr, "test agent:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func testConfig(dir string) Config {
	return Config{
		StateDir: filepath.Join(dir, "state"), SupervisorDir: filepath.Join(dir, "sv"),
		CgroupParent: "peapod-test-" + filepath.Base(dir),
	}
}

// runTestAgent starts what is not there yet, and notes every end that it hears of.
func runTestAgent(dir string) error {
	e, err := New(testConfig(dir))
	if err != nil {
		return err
	}
	if err := e.SupervisorReady(); err != nil {
		return err
	}
	n := &node{dir: dir, layer: filepath.Join(dir, "layer")}
	ctx := context.Background()
	if _, err := e.StartSandbox(ctx, runtime.SandboxSpec{PodUID: "p"}); err != nil {
		return err
	}
	found, err := e.List(ctx)
	if err != nil {
		return err
	}
	for i := range writers {
		script := fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo line $i; i=$((i+1)); done; exit %d", writerLines, 40+i)
		if _, err := e.StartContainer(ctx, n.spec("p", fmt.Sprintf("w%d", i), script)); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(filepath.Join(dir, "heard"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	// An agent that is killed between hearing of an end and noting it finds the container ended when it starts again.
	for _, sandbox := range found {
		for _, c := range sandbox.Containers {
			if !c.Running {
				fmt.Fprintf(f, "%s %d\n", c.ID, c.ExitCode)
			}
		}
	}
	for c := range e.Exits() {
		fmt.Fprintf(f, "%s %d\n", c.ID, c.ExitCode)
	}
	return nil
}

// TestAgentKilledManyTimes: Invariant 20.
func TestAgentKilledManyTimes(t *testing.T) {
	n := newNode(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	code := make(chan error, 1)
	go func() {
		_, err := supervisor.Launch(n.cfg.SupervisorDir, []string{exe}, append(os.Environ(), agentEnv+"="+n.dir))
		code <- err
	}()
	c := dialSoon(t, n.cfg.SupervisorDir)
	defer c.Close()
	kills := killAgents(t, c, n)
	waitFor(t, "all ends to be heard", func() bool { return len(heard(n)) >= writers })
	for i := range writers {
		id := fmt.Sprintf("w%d", i)
		checkLines(t, n, id)
		if got := heard(n)[id]; got != 40+i {
			t.Errorf("%s: heard of code %d, want %d", id, got, 40+i)
		}
	}
	if kills < agentKills {
		t.Errorf("only %d kills happened before the containers were done: write more lines", kills)
	}
	if _, err := supervisorSignal(n.cfg.SupervisorDir); err != nil {
		t.Error(err)
	}
	if err := <-code; err != nil {
		t.Error(err)
	}
}

// killAgents kills each agent a moment after it has come up, at ever other moments of its life.
func killAgents(t *testing.T, c *supervisor.Client, n *node) int {
	last, kills := 0, 0
	for ; kills < agentKills; kills++ {
		waitFor(t, "an agent", func() bool {
			h, err := c.Hello()
			return err == nil && h.AgentPID != 0 && h.AgentPID != last && started(n, kills)
		})
		h, err := c.Hello()
		if err != nil {
			t.Fatal(err)
		}
		last = h.AgentPID
		time.Sleep(time.Duration(kills*3) * time.Millisecond)
		if err := unix.Kill(last, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if kills%5 == 0 { // and the supervisor becomes itself again meanwhile
			exe, _ := os.Executable()
			if err := c.Upgrade(t.Context(), exe); err != nil {
				t.Fatal(err)
			}
		}
	}
	return kills
}

// started lets the first agent come as far as its last container, so that lines flow while others are killed.
func started(n *node, kills int) bool {
	return kills > 0 || exists(filepath.Join(n.dir, fmt.Sprintf("w%d.log", writers-1)))
}

func supervisorSignal(dir string) (int, error) {
	c, err := supervisor.Dial(dir)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	h, err := c.Hello()
	if err != nil {
		return 0, err
	}
	return h.AgentPID, c.SignalAgent(syscall.SIGTERM)
}

func dialSoon(t *testing.T, dir string) *supervisor.Client {
	t.Helper()
	var c *supervisor.Client
	waitFor(t, "the supervisor", func() (ok bool) {
		var err error
		c, err = supervisor.Dial(dir)
		return err == nil
	})
	return c
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func heard(n *node) map[string]int {
	b, _ := os.ReadFile(filepath.Join(n.dir, "heard"))
	out := map[string]int{}
	for line := range strings.Lines(string(b)) {
		var id string
		var code int
		if k, _ := fmt.Sscan(line, &id, &code); k == 2 {
			out[id] = code
		}
	}
	return out
}

func checkLines(t *testing.T, n *node, id string) {
	t.Helper()
	next := 0
	for line := range strings.Lines(n.log(id)) {
		if want := fmt.Sprintf("line %d\n", next); line != want {
			t.Fatalf("%s: got %q where %q was due", id, line, want)
		}
		next++
	}
	if next != writerLines {
		t.Errorf("%s: %d lines, want %d", id, next, writerLines)
	}
}

// TestAgentEndsBesideTheGate: Invariants 20 and 28, at the moments that a kill hits most rarely.
func TestAgentEndsBesideTheGate(t *testing.T) {
	n := newNode(t)
	e := n.open()
	if _, err := e.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.start(e, "p", n.spec("p", "through", "echo begun; sleep 3; exit 7"))
	gate := filepath.Join(e.runcRoot(), "through", gateName)
	if err := unix.Mkfifo(gate, 0o622); err != nil { // the init is through, but the agent ended before it removed the gate
		t.Fatal(err)
	}
	n.prepared(e, n.spec("p", "waits", "echo begun; exit 8"))
	// The agent ended between the supervisor's opening of the gate and its own: the init's byte must have a reader all the while.
	let := n.prepared(e, n.spec("p", "let", "echo begun; exit 9"))
	name, err := openFile(filepath.Join(e.runcRoot(), "let", gateName), unix.O_PATH)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.visor.do(func(v *supervisor.Client) error { return v.Hold(gateHold("let"), name) }); err != nil {
		t.Fatal(err)
	}
	name.Close()
	waitFor(t, "the supervisor has let it through", func() bool { return n.log("let") == "begun\n" && readable(let.pidfd) })
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}

	e = n.open()
	if _, err := e.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	codes := map[string]int{}
	for range 3 {
		x := n.exit(e)
		codes[x.ID] = x.ExitCode
	}
	for id, want := range map[string]int{"through": 7, "waits": 8, "let": 9} {
		if codes[id] != want {
			t.Errorf("%s ended with %d, want %d", id, codes[id], want)
		}
		if got := n.log(id); got != "begun\n" {
			t.Errorf("%s ran not exactly once: its log is %q", id, got)
		}
		if exists(filepath.Join(e.runcRoot(), id, gateName)) {
			t.Errorf("the gate of %s is still there", id)
		}
	}
}

// prepared makes a container up to its gate, where its agent leaves it.
func (n *node) prepared(e *Executor, spec runtime.ContainerSpec) *container {
	n.t.Helper()
	p := e.pods[spec.PodUID]
	c := e.newContainer(containerRecord{Spec: spec, BootID: p.record.BootID}, runtime.SandboxSpec{})
	dir := e.containerDir(spec.ID)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		n.t.Fatal(err)
	}
	if err := mountRootfs(dir, filepath.Join(dir, "rootfs"), spec.Layers); err != nil {
		n.t.Fatal(err)
	}
	if err := e.prepare(c, frame{spec: p.record.Spec, pause: p.record.Pause.PID, shm: e.shmFor(p)}); err != nil {
		n.t.Fatal(err)
	}
	return c
}

func TestSupervisorKilled(t *testing.T) {
	n := newNode(t)
	e := n.open()
	if _, err := e.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.start(e, "p", n.spec("p", "c", "i=0; while [ $i -lt 200000 ]; do echo line $i; i=$((i+1)); done; exit 5"))
	old, err := e.visor.client.Hello()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(old.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if out, code := n.exec(e, "c", "echo", "alive"); code != 0 || out != "alive\n" {
		t.Errorf("after the supervisor's death a command gave %q, %d", out, code)
	}
	if x := n.exit(e); x.ExitCode != 5 {
		t.Errorf("ended as %+v", x)
	}
	// The chunk in flight may be there twice; nothing may be missing.
	seen := map[string]bool{}
	for line := range strings.Lines(n.log("c")) {
		seen[line] = true
	}
	for i := range 200000 {
		if !seen[fmt.Sprintf("line %d\n", i)] {
			t.Fatalf("line %d is missing", i)
		}
	}
}

func TestLimitsAndOOM(t *testing.T) {
	n := newNode(t)
	e := n.open()
	if _, err := e.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	spec := n.spec("p", "c", "sleep 1000")
	spec.Resources = runtime.Resources{CPUShares: 512, CPUQuota: 50000, CPUPeriod: 100000, MemoryBytes: 64 << 20, PidsMax: 100}
	n.start(e, "p", spec)
	c, _ := e.findContainer("c")
	want := map[string][2]string{"cpu": {"cpu.cfs_quota_us", "50000"}, "memory": {"memory.limit_in_bytes", "67108864"}, "pids": {"pids.max", "100"}}
	if e.cgroups.unified {
		want = map[string][2]string{"": {"cpu.max", "50000 100000"}}
	}
	for controller, w := range want {
		b, err := os.ReadFile(filepath.Join(c.record.CgroupPaths[controller], w[0]))
		if err != nil || strings.TrimSpace(string(b)) != w[1] {
			t.Errorf("%s is %q, %v, want %s", w[0], b, err, w[1])
		}
	}
	spec = n.spec("p", "hungry", "exec dd if=/dev/zero of=/dev/null bs=200M count=1")
	spec.Resources.MemoryBytes = 32 << 20
	n.start(e, "p", spec)
	if x := n.exit(e); x.ID != "hungry" || !x.OOMKilled || x.ExitCode != 137 {
		t.Errorf("the hungry container ended as %+v", x)
	}
}

// A resize reaches the kernel, a memory limit below what is in use is refused, and the record keeps what holds for an
// agent that starts again.
func TestResizeReachesTheKernel(t *testing.T) {
	n := newNode(t)
	e := n.open()
	spec := n.spec("p", "c", "dd if=/dev/zero of=/dev/shm/x bs=1M count=20; echo full; sleep 1000")
	spec.Resources = runtime.Resources{CPUShares: 512, MemoryBytes: 256 << 20}
	n.start(e, "p", spec)
	waitFor(t, "memory to be in use", func() bool { return strings.Contains(n.log("c"), "full") })
	bigger := runtime.Resources{CPUShares: 1024, CPUQuota: 70000, CPUPeriod: 100000, MemoryBytes: 512 << 20}
	if err := e.Resize(t.Context(), "p", "c", bigger); err != nil {
		t.Fatal(err)
	}
	c, _ := e.findContainer("c")
	file, want := filepath.Join(c.record.CgroupPaths["memory"], "memory.limit_in_bytes"), "536870912"
	if e.cgroups.unified {
		file = filepath.Join(c.record.CgroupPaths[""], "memory.max")
	}
	read := func() string {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	if got := read(); got != want {
		t.Errorf("the limit is %s, want %s", got, want)
	}
	if st, err := e.Stats(t.Context(), "p"); err != nil || st.Containers["c"].WorkingSetBytes < 8<<20 {
		t.Fatalf("the container uses %+v, %v", st.Containers["c"], err)
	}
	small := bigger
	small.MemoryBytes = 1 << 20
	if err := e.Resize(t.Context(), "p", "c", small); err == nil {
		t.Error("a limit below what is in use was taken")
	}
	if got := read(); got != want {
		t.Errorf("after a refused resize the limit is %s, want %s", got, want)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = n.open()
	again, err := e.findContainer("c")
	if err != nil || again.record.Spec.Resources.MemoryBytes != 512<<20 {
		t.Errorf("after a restart the record says %+v, %v", again.record.Spec.Resources, err)
	}
}

func TestTerminalAndStdin(t *testing.T) {
	n := newNode(t)
	e := n.open()
	if _, err := e.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	spec := n.spec("p", "tty", "tty; read x; echo got $x; exit 3")
	spec.TTY, spec.Stdin = true, true
	n.start(e, "p", spec)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = n.open() // the terminal outlives its agent
	if _, err := e.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	in, err := e.Stdin(t.Context(), "tty")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if _, err := in.WriteString("word\n"); err != nil {
		t.Fatal(err)
	}
	if x := n.exit(e); x.ExitCode != 3 {
		t.Errorf("ended as %+v", x)
	}
	if got := n.log("tty"); !strings.Contains(got, "/dev/") || !strings.Contains(got, "got word") {
		t.Errorf("log %q", got)
	}
	spec = n.spec("p", "pipe", "cat; exit 4")
	spec.Stdin = true
	n.start(e, "p", spec)
	if err := e.CloseStdin(t.Context(), "pipe"); err != nil {
		t.Fatal(err)
	}
	if x := n.exit(e); x.ExitCode != 4 {
		t.Errorf("ended as %+v", x)
	}
}
