package oci

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/supervisor"
)

func bootTime(t testing.TB) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// restless forks out of its session, so that only its cgroup still tells whose it is.
const restless = "(setsid sh -c 'while :; do setsid sleep 0.01; done' &) ; while :; do sleep 1; done"

func (n *node) alive(e *Executor, pod string) int {
	n.t.Helper()
	pids, err := e.cgroups.members(e.cgroups.pod(pod))
	if err != nil {
		n.t.Fatal(err)
	}
	return len(pids)
}

func (n *node) guarded(pod, id, script string) runtime.ContainerSpec {
	spec := n.spec(pod, id, script)
	spec.Guarded = true
	return spec
}

// The supervisor alone ends a pod when its lease does: nothing here does anything at that time. Invariant 85.
func TestGuardEndsAPodWithItsLease(t *testing.T) {
	n := newNode(t)
	e := n.open()
	if _, err := e.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := e.StartSandbox(t.Context(), runtime.SandboxSpec{PodUID: "p", Name: "p", SharePID: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.StartContainer(t.Context(), n.guarded("p", "early", restless)); !errors.Is(err, runtime.ErrNoLease) {
		t.Fatalf("without a lease the start gave %v", err)
	}
	end := bootTime(t) + 1500*time.Millisecond
	if err := e.GuardPod("p", end); err != nil {
		t.Fatal(err)
	}
	n.start(e, "p", n.guarded("p", "c", restless))
	n.start(e, "q", n.spec("q", "other", "sleep 1000"))
	x := n.exit(e)
	if at := bootTime(t); x.ID != "c" || x.ExitCode != 137 || at < end || at > end+time.Second {
		t.Errorf("ended as %+v, %v after the lease", x, at-end)
	}
	for end := time.Now().Add(time.Second); n.alive(e, "p") > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if got := n.alive(e, "p"); got > 0 || n.alive(e, "q") == 0 {
		t.Errorf("%d processes of the guarded pod live, %d of the other", got, n.alive(e, "q"))
	}
	again := bootTime(t) + time.Hour
	if states, err := e.ExtendLease(again); err != nil || len(states) != 1 || states["p"] {
		t.Errorf("a lease that came too late gave %v, %v", states, err)
	}
	if _, err := e.StartContainer(t.Context(), n.guarded("p", "late", restless)); !errors.Is(err, runtime.ErrNoLease) {
		t.Errorf("a start in a pod that was stopped gave %v", err)
	}
	if err := e.GuardPod("p", bootTime(t)-1); !errors.Is(err, runtime.ErrNoLease) {
		t.Errorf("a lease of the past gave %v", err)
	}
	if err := e.GuardPod("p", again); err != nil {
		t.Fatal(err)
	}
	n.start(e, "p", n.guarded("p", "anew", "sleep 1000"))
	if err := e.RemoveSandbox(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	if states, err := e.ExtendLease(0); err != nil || len(states) != 0 {
		t.Errorf("of a pod that was removed is known %v, %v", states, err)
	}
}

// A guard outlives agent and upgrade, and an agent that comes too late finds the pod ended.
func TestGuardOutlivesItsAgent(t *testing.T) {
	n := newNode(t)
	e := n.open()
	if err := e.GuardPod("p", bootTime(t)+time.Second); err != nil {
		t.Fatal(err)
	}
	n.start(e, "p", n.guarded("p", "c", restless))
	end := bootTime(t) + 1500*time.Millisecond
	if states, err := e.ExtendLease(end); err != nil || !states["p"] {
		t.Fatalf("extending gave %v, %v", states, err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := supervisor.Dial(n.cfg.SupervisorDir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Upgrade(t.Context(), self); err != nil {
		t.Fatal(err)
	}
	if n.alive(e, "p") == 0 {
		t.Fatal("the pod ended before its lease")
	}
	for wait := time.Now().Add(10 * time.Second); n.alive(e, "p") > 0 && time.Now().Before(wait); {
		time.Sleep(time.Millisecond)
	}
	if at := bootTime(t); n.alive(e, "p") > 0 || at < end {
		t.Fatalf("%d processes live %v after the lease", n.alive(e, "p"), at-end)
	}
	later := n.open()
	if _, err := later.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	if x := n.exit(later); x.ID != "c" || x.ExitCode != 137 {
		t.Errorf("the next agent hears %+v", x)
	}
	if states, err := later.ExtendLease(bootTime(t) + time.Hour); err != nil || states["p"] || len(states) != 1 {
		t.Errorf("the next agent is told %v, %v", states, err)
	}
}
