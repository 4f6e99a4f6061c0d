package oci

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/runtime/runtimetest"
	"github.com/peapod-sh/peapod/agent/supervisor"
	_ "github.com/peapod-sh/peapod/internal/early"
	_ "github.com/peapod-sh/peapod/internal/early/container"
)

// node is a machine of its own for one test: directories, a supervisor, a cgroup.
type node struct {
	t     testing.TB
	dir   string
	layer string
	cfg   Config
}

func newNode(t testing.TB) *node {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "oci")
	if err != nil {
		t.Fatal(err)
	}
	layer, err := runtimetest.BusyboxLayer(filepath.Join(dir, "layer"))
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, dir: dir, layer: layer, cfg: testConfig(dir)}
	n.cfg.Logger = hclog.New(&hclog.LoggerOptions{Output: testWriter{t}, Level: hclog.Info})
	t.Cleanup(n.cleanUp)
	return n
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func (n *node) open() *Executor {
	n.t.Helper()
	e, err := New(n.cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { e.Close() })
	return e
}

// cleanUp leaves the machine as it was, and fails the test if the executor cannot.
func (n *node) cleanUp() {
	e, err := New(n.cfg)
	if err != nil {
		n.t.Error(err)
		return
	}
	list, _ := e.List(context.Background())
	for _, s := range list {
		if err := e.RemoveSandbox(context.Background(), s.PodUID); err != nil {
			n.t.Error(err)
		}
	}
	e.Close()
	if c, err := supervisor.Dial(n.cfg.SupervisorDir); err == nil {
		if err := c.Stop(); err != nil {
			n.t.Error(err)
		}
		c.Close()
	}
	l := newCgroupLayout(n.cfg.CgroupParent)
	if err := l.remove("/" + n.cfg.CgroupParent); err != nil {
		n.t.Error(err)
	}
	if err := os.RemoveAll(n.dir); err != nil {
		n.t.Error(err)
	}
}

func (n *node) spec(pod, id, script string) runtime.ContainerSpec {
	return runtime.ContainerSpec{
		ID: id, PodUID: pod, Name: id, Layers: []string{n.layer}, Args: []string{"sh", "-c", script},
		Env: []string{"PATH=/bin", "HOME=/"}, LogPath: filepath.Join(n.dir, id+".log"),
	}
}

// start makes a pod and a container in it.
func (n *node) start(e *Executor, pod string, spec runtime.ContainerSpec) runtime.Container {
	n.t.Helper()
	ctx := context.Background()
	if _, err := e.StartSandbox(ctx, runtime.SandboxSpec{PodUID: pod, Name: pod, Hostname: pod}); err != nil {
		n.t.Fatal(err)
	}
	c, err := e.StartContainer(ctx, spec)
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

func (n *node) exit(e *Executor) runtime.Container {
	n.t.Helper()
	select {
	case c := <-e.Exits():
		return c
	case <-time.After(30 * time.Second):
		n.t.Fatal("no exit within 30 s")
		panic("unreachable")
	}
}

// log is the text of a container's log without stamps and tags.
func (n *node) log(id string) string {
	n.t.Helper()
	b, err := os.ReadFile(filepath.Join(n.dir, id+".log"))
	if err != nil {
		n.t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(line, " ", 4)
		if len(f) != 4 {
			n.t.Fatalf("not a CRI log line: %q", line)
		}
		if f[2] == "P" {
			f[3] = strings.TrimSuffix(f[3], "\n")
		}
		out.WriteString(f[3])
	}
	return out.String()
}

func (n *node) exec(e *Executor, id string, args ...string) (string, int) {
	n.t.Helper()
	var out, errs bytes.Buffer // two, because the streams are copied at the same time
	code, err := e.Exec(context.Background(), id, runtime.ExecSpec{Args: args, Stdout: &out, Stderr: &errs})
	if err != nil {
		n.t.Fatalf("exec %q: %v (%s)", args, err, errs.String())
	}
	return out.String(), code
}

func TestFirstContainer(t *testing.T) {
	n := newNode(t)
	e := n.open()
	n.start(e, "pod1", n.spec("pod1", "c1", "echo hello; hostname; printf unfinished >&2; exit 42"))
	if _, err := e.List(context.Background()); err != nil {
		t.Fatal(err)
	}
	c := n.exit(e)
	if c.ExitCode != 42 || c.ID != "c1" || c.Running {
		t.Errorf("ended as %+v, want code 42", c)
	}
	if got := n.log("c1"); !strings.Contains(got, "hello\npod1\n") || !strings.Contains(got, "unfinished") {
		t.Errorf("log %q", got)
	}
}

func TestExec(t *testing.T) {
	n := newNode(t)
	e := n.open()
	n.start(e, "pod1", n.spec("pod1", "c1", "sleep 1000"))
	out, code := n.exec(e, "c1", "sh", "-c", "echo $HOME $$ ; id -u; cat; exit 7")
	if code != 7 || !strings.HasPrefix(out, "/ ") {
		t.Errorf("exec gave %q, %d", out, code)
	}
	if _, err := e.Exec(context.Background(), "c1", runtime.ExecSpec{Args: []string{"nothing"}}); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("a missing program gave %v", err)
	}
	var tty bytes.Buffer
	code, err := e.Exec(context.Background(), "c1", runtime.ExecSpec{Args: []string{"sh", "-c", "tty; stty size; test -t 2; read x; echo got $x"}, TTY: true, Stdin: strings.NewReader("word\n"), Stdout: &tty})
	if err != nil || code != 0 || !strings.Contains(tty.String(), "/dev/pts/") || !strings.Contains(tty.String(), "got word") {
		t.Errorf("tty exec gave %q, %d, %v", tty.String(), code, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := e.Exec(ctx, "c1", runtime.ExecSpec{Args: []string{"sleep", "1000"}}); err == nil {
		t.Error("a command that outlives its context gave no error")
	}
	if out, _ := n.exec(e, "c1", "ps"); strings.Count(out, "sleep 1000") != 1 {
		t.Errorf("the cancelled command still runs:\n%s", out)
	}
}

func (n *node) emptyLayer(name string) string {
	n.t.Helper()
	dir := filepath.Join(n.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		n.t.Fatal(err)
	}
	return dir
}

// A container of the Guaranteed class starts also where the agent may not lower a score, and has the lowest that it can.
func TestGuaranteedStarts(t *testing.T) {
	n := newNode(t)
	e := n.open()
	spec := n.spec("p", "guaranteed", "cat /proc/self/oom_score_adj")
	spec.Resources.OOMScoreAdj = -997
	if _, err := e.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.start(e, "p", spec)
	if x := n.exit(e); x.ExitCode != 0 {
		t.Fatalf("it ended with %d: %s", x.ExitCode, n.log("guaranteed"))
	}
	if got, want := strings.TrimSpace(n.log("guaranteed")), strconv.Itoa(oomScore(-997)); got != want {
		t.Errorf("its score is %s, want %s", got, want)
	}
}
