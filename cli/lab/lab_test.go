package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// upOptions are those of a small lab of stand-ins that no other test or user has.
func upOptions(t *testing.T, out io.Writer) Options {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("t%d", os.Getpid())
	dir, err := os.MkdirTemp("/tmp", "lab")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := Down(context.Background(), name, dir); err != nil {
			t.Errorf("ending the lab: %v", err)
		}
		wantNothing(t, name, dir)
	})
	return Options{Name: name, Dir: dir, Servers: 2, Clients: 2, Binary: exe, Stdout: out, Timeout: 30 * time.Second}
}

// wantNothing fails the test for everything that a lab has left.
func wantNothing(t *testing.T, name, dir string) {
	t.Helper()
	if exists(dir) {
		t.Errorf("the directory %s is left", dir)
	}
	if ns := namespacesOf(name); len(ns) > 0 {
		t.Errorf("namespaces %v are left", ns)
	}
	if hasTraces(name) {
		t.Errorf("cgroups of %s are left", name)
	}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if l.Attrs().Alias == alias(name) {
			t.Errorf("link %s is left", l.Attrs().Name)
		}
	}
}

func mustUp(t *testing.T, o Options) *Lab {
	t.Helper()
	l, err := Up(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func stateOf(t *testing.T, l *Lab, node string) string {
	t.Helper()
	n, err := l.Node(node)
	if err != nil {
		t.Fatal(err)
	}
	return n.State()
}

func wantState(t *testing.T, l *Lab, node, want string) {
	t.Helper()
	if got := stateOf(t, l, node); got != want {
		t.Errorf("%s is %s, want %s", node, got, want)
	}
}

func TestLife(t *testing.T) {
	ctx := context.Background()
	var out bytes.Buffer
	o := upOptions(t, &out)
	o.SimNodes = 1
	l := mustUp(t, o)
	for _, n := range []string{"network", "server1", "server2", "client1", "client2", "sim"} {
		if strings.Count(out.String(), "✓ "+n+" ") != 1 {
			t.Errorf("progress has not one line of %s:\n%s", n, out.String())
		}
	}
	t.Run("all run", func(t *testing.T) {
		for _, n := range l.Nodes() {
			wantState(t, l, n.Name, StateRunning)
		}
	})
	t.Run("pause", func(t *testing.T) { pause(t, ctx, l) })
	t.Run("cut", func(t *testing.T) { cut(t, ctx, l) })
	t.Run("kill", func(t *testing.T) { kill(t, ctx, l) })
	t.Run("agent", func(t *testing.T) { agentOnly(t, ctx, l) })
	t.Run("exec", func(t *testing.T) { execIn(t, ctx, l) })
	t.Run("second", func(t *testing.T) {
		if _, err := Up(ctx, o); err == nil || !strings.Contains(err.Error(), "already") {
			t.Errorf("a second Up says %v", err)
		}
	})
	if err := l.Down(ctx); err != nil {
		t.Fatal(err)
	}
	wantNothing(t, o.Name, o.Dir)
	if err := l.Down(ctx); err != nil {
		t.Errorf("a second Down says %v", err)
	}
}

func pause(t *testing.T, ctx context.Context, l *Lab) {
	must(t, l.Pause(ctx, "server2"))
	wantState(t, l, "server2", StatePaused)
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if err := l.Ready(short, "server2"); err == nil {
		t.Error("a paused server answers")
	}
	must(t, l.Resume(ctx, "server2"))
	must(t, l.Ready(ctx, "server2"))
	must(t, l.PauseFor(ctx, time.Millisecond, "server2"))
	wantState(t, l, "server2", StateRunning)
	ended, end := context.WithCancel(ctx)
	end()
	if err := l.PauseFor(ended, time.Hour, "server2"); !errors.Is(err, context.Canceled) {
		t.Errorf("a pause that was interrupted says %v", err)
	}
	wantState(t, l, "server2", StateRunning)
}

func cut(t *testing.T, ctx context.Context, l *Lab) {
	must(t, l.Cut(ctx, "server1"))
	wantState(t, l, "server1", StateCut)
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if _, err := l.Dial(short, "client1", "tcp", "server1"); err == nil {
		t.Error("a cut server is reached")
	}
	must(t, l.Heal(ctx, "server1"))
	must(t, l.Ready(ctx))
}

// kill wants everything of the node to end, detached processes too, and all of it to come back.
func kill(t *testing.T, ctx context.Context, l *Lab) {
	n, err := l.Node("client1")
	must(t, err)
	detached := detachedPID(t, n)
	mounted := filepath.Join(n.DataDir(), "m")
	must(t, os.Mkdir(mounted, 0o700))
	must(t, unix.Mount("tmpfs", mounted, "tmpfs", 0, ""))
	must(t, l.Pause(ctx, "client1")) // the frozen must die as well
	must(t, l.Kill(ctx, "client1"))
	wantState(t, l, "client1", StateDead)
	if s, err := readStat(detached); err == nil && s.state != 'Z' {
		t.Errorf("the detached process %d lives", detached)
	}
	must(t, l.Restart(ctx, "client1"))
	must(t, l.Ready(ctx, "client1"))
	wantState(t, l, "client1", StateRunning)
	if points, err := mountsBelow(n.Dir); err != nil || len(points) > 0 {
		t.Errorf("after a reboot %v are mounted (%v)", points, err)
	}
	other, err := Open(l.Dir())
	must(t, err)
	wantState(t, other, "client1", StateRunning)
}

func detachedPID(t *testing.T, n Node) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(n.DataDir(), "detached"))
	must(t, err)
	pid, err := strconv.Atoi(string(b))
	must(t, err)
	return pid
}

// agentOnly wants detached processes to survive the agent's death and its replacement.
func agentOnly(t *testing.T, ctx context.Context, l *Lab) {
	n, err := l.Node("client2")
	must(t, err)
	detached := detachedPID(t, n)
	must(t, l.KillAgent(ctx, "client2"))
	wantState(t, l, "client2", StateAgentless)
	must(t, l.Restart(ctx, "client2"))
	wantState(t, l, "client2", StateRunning)
	must(t, l.Restart(ctx, "client2"))
	wantState(t, l, "client2", StateRunning)
	if _, err := readStat(detached); err != nil {
		t.Errorf("the detached process is gone: %v", err)
	}
}

func execIn(t *testing.T, ctx context.Context, l *Lab) {
	n, err := l.Node("client1")
	must(t, err)
	var out bytes.Buffer
	code, err := l.Exec(ctx, "client1", Streams{Out: &out, Err: &out}, "ip", "-4", "address", "show", "eth0")
	if err != nil || code != 0 || !strings.Contains(out.String(), n.Address.String()) {
		t.Errorf("ip address says %d, %v: %s", code, err, out.String())
	}
	if code, err := l.Exec(ctx, "client1", Streams{}, "sh", "-c", "exit 7"); code != 7 || err != nil {
		t.Errorf("exit 7 is %d, %v", code, err)
	}
	server, err := l.Node("server1")
	must(t, err)
	conn, err := l.Dial(ctx, "client1", "tcp", server.Address.String()+":6443")
	must(t, err)
	conn.Close()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestUpFails: Invariant 70.
func TestUpFails(t *testing.T) {
	o := upOptions(t, io.Discard)
	o.ClientArgs = []string{"--fail"}
	_, err := Up(context.Background(), o)
	if !errors.Is(err, errEnded) || !strings.Contains(err.Error(), "the stand-in was told to fail") || !strings.Contains(err.Error(), "client") {
		t.Errorf("the error does not say why: %v", err)
	}
	wantNothing(t, o.Name, o.Dir)
}

// TestUpInterrupted: Invariant 70.
func TestUpInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	o := upOptions(t, writerFunc(func(b []byte) {
		if strings.Contains(string(b), "server1") {
			cancel()
		}
	}))
	if _, err := Up(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	wantNothing(t, o.Name, o.Dir)
}

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) { f(b); return len(b), nil }

// TestDownAfterLoss removes a lab of which only the state is known, and one of which not even that.
// Invariant 70.
func TestDownAfterLoss(t *testing.T) {
	for _, lost := range []bool{false, true} {
		o := upOptions(t, io.Discard)
		l := mustUp(t, o)
		detached := detachedPID(t, l.Nodes()[2])
		if lost {
			must(t, removeLink(l.Nodes()[0].Link))
			must(t, removeNamespace(l.Nodes()[3].Namespace))
			must(t, removeBridge(l.Name(), l.s.Bridge))
		}
		if was, err := Down(context.Background(), o.Name, o.Dir); !was || err != nil {
			t.Errorf("Down says %v, %v", was, err)
		}
		if s, err := readStat(detached); err == nil && s.state != 'Z' {
			t.Errorf("process %d lives", detached)
		}
		wantNothing(t, o.Name, o.Dir)
		l.reapers.Wait()
	}
}

func TestHostReachesNodes(t *testing.T) {
	l := mustUp(t, upOptions(t, io.Discard))
	cfg, err := restConfig(l.Kubeconfig(), "")
	must(t, err)
	ok, err := ask(context.Background(), http.DefaultClient, cfg.Host+"/readyz")
	if ok || err == nil {
		t.Error("the stand-in's certificate was trusted without its configuration")
	}
	if !strings.Contains(path.Base(l.Kubeconfig()), "kubeconfig") || !exists(l.Kubeconfig()) {
		t.Errorf("no kubeconfig in %s", l.Kubeconfig())
	}
}
