package runtimetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// Executor is what the suite drives: an executor that can be closed.
type Executor interface {
	runtime.Executor
	Close() error
}

// Subject is an executor under test. What it cannot do is not asked of it.
type Subject struct {
	// Open opens the executor over the same state each time it is called.
	Open func(t *testing.T) Executor
	// Spec fills a container that runs script with sh.
	Spec func(pod, id, script string) runtime.ContainerSpec
	// Processes: containers are real, so that scripts, commands and exit codes mean something.
	Processes bool
	// Reopens: what runs, runs on when the executor is closed and opened again.
	Reopens bool
	// Handler is one that a RuntimeClass may ask for, beside the default; "" if there is none.
	Handler string
	// OwnUsers: pods can have users of their own; otherwise they must be refused.
	OwnUsers bool
}

const patience = 60 * time.Second

// Run runs the suite.
func Run(t *testing.T, subject func(t *testing.T) Subject) {
	cases := []struct {
		name string
		can  func(Subject) bool
		run  func(*testing.T, Subject)
	}{
		{"life cycle", always, lifeCycle},
		{"signals", always, signals},
		{"unknown names", always, unknownNames},
		{"idempotence", always, idempotence},
		{"a hundred at once", always, hundred},
		{"usage and resizing", always, usageAndResizing},
		{"exit codes", processes, exitCodes},
		{"commands", processes, commands},
		{"shared processes", processes, sharedProcesses},
		{"users of its own", users, ownUsers},
		{"users refused", noUsers, refusedUsers},
		{"a handler that is not there", processes, unknownHandler},
		{"taken up again", reopens, reopened},
		{"ended while closed", reopens, endedWhileClosed},
	}
	probe := subject(t)
	for _, c := range cases {
		if c.can(probe) {
			t.Run(c.name, func(t *testing.T) { c.run(t, subject(t)) })
		}
	}
}

func always(Subject) bool      { return true }
func processes(s Subject) bool { return s.Processes }
func reopens(s Subject) bool   { return s.Reopens }
func users(s Subject) bool     { return s.OwnUsers }
func noUsers(s Subject) bool   { return s.Processes && !s.OwnUsers }

// unknownHandler: what a RuntimeClass asks for in vain is refused in the words that people know, and nothing is left of the pod.
func unknownHandler(t *testing.T, s Subject) {
	e := open(t, s)
	spec := runtime.SandboxSpec{PodUID: "handled", Namespace: "ns", Name: "handled", Handler: "nobody-has-it"}
	if _, err := e.StartSandbox(t.Context(), spec); err == nil || !strings.Contains(err.Error(), `no runtime for "nobody-has-it" is configured`) {
		t.Errorf("%v", err)
	}
	if left := list(t, e); len(left) > 0 {
		t.Errorf("left: %+v", left)
	}
	if spec.Handler = s.Handler; s.Handler == "" {
		return
	}
	sb, err := e.StartSandbox(t.Context(), spec)
	if err != nil || sb.NetNS == "" {
		t.Errorf("a handler that is there: %+v, %v", sb, err)
	}
	if err := e.RemoveSandbox(t.Context(), spec.PodUID); err != nil {
		t.Error(err)
	}
}

const forever = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"

func start(t *testing.T, e Executor, s Subject, pod, id, script string) runtime.Container {
	t.Helper()
	if _, err := e.StartSandbox(t.Context(), runtime.SandboxSpec{PodUID: pod, Namespace: "ns", Name: "name-" + pod}); err != nil {
		t.Fatal(err)
	}
	c, err := e.StartContainer(t.Context(), s.Spec(pod, id, script))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func open(t *testing.T, s Subject) Executor {
	t.Helper()
	e := s.Open(t)
	t.Cleanup(func() { e.Close() })
	list(t, e)
	return e
}

func list(t *testing.T, e Executor) []runtime.Sandbox {
	t.Helper()
	l, err := e.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func nextExit(t *testing.T, e Executor) runtime.Container {
	t.Helper()
	select {
	case c, ok := <-e.Exits():
		if !ok {
			t.Fatal("the exits are closed")
		}
		return c
	case <-time.After(patience):
		t.Fatal("no exit was delivered")
	}
	panic("unreachable")
}

func noExit(t *testing.T, e Executor) {
	t.Helper()
	select {
	case c, ok := <-e.Exits():
		if ok {
			t.Errorf("an end was delivered twice: %+v", c)
		}
	case <-time.After(20 * time.Millisecond):
	}
}

func remove(t *testing.T, e Executor, pods ...string) {
	t.Helper()
	for _, p := range pods {
		if err := e.RemoveSandbox(context.Background(), p); err != nil {
			t.Error(err)
		}
	}
}

func lifeCycle(t *testing.T, s Subject) {
	e := open(t, s)
	c := start(t, e, s, "p", "c", forever)
	if !c.Running || c.ID != "c" || c.PodUID != "p" || c.Started.IsZero() {
		t.Errorf("started as %+v", c)
	}
	l := list(t, e)
	if len(l) != 1 || l[0].Name != "name-p" || l[0].Namespace != "ns" || len(l[0].Containers) != 1 || !l[0].Containers[0].Running {
		t.Errorf("listed as %+v", l)
	}
	if err := e.RemoveContainer(t.Context(), "c"); err == nil {
		t.Error("a running container was removed")
	}
	if err := e.Signal(t.Context(), "c", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	x := nextExit(t, e)
	if x.ID != "c" || x.Running || x.ExitCode != 137 || x.Signal != 9 || x.Finished.IsZero() {
		t.Errorf("ended as %+v", x)
	}
	if err := e.RemoveContainer(t.Context(), "c"); err != nil {
		t.Error(err)
	}
	if l := list(t, e); len(l) != 1 || len(l[0].Containers) != 0 {
		t.Errorf("after the removal: %+v", l)
	}
	remove(t, e, "p")
	if l := list(t, e); len(l) != 0 {
		t.Errorf("after the sandbox's removal: %+v", l)
	}
	noExit(t, e)
}

func signals(t *testing.T, s Subject) {
	e := open(t, s)
	start(t, e, s, "p", "c", "trap 'exit 0' TERM; "+"echo up; "+forever)
	if s.Processes {
		waitTrap(t, e, "c")
	}
	if err := e.Signal(t.Context(), "c", syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if x := nextExit(t, e); x.ExitCode != 0 || x.Signal != 0 {
		t.Errorf("after TERM: %+v", x)
	}
	if err := e.Signal(t.Context(), "c", syscall.SIGTERM); !errors.Is(err, runtime.ErrNotRunning) {
		t.Errorf("signalling what has ended gave %v", err)
	}
	remove(t, e, "p")
}

// waitTrap waits until the shell catches TERM: bit 14 of its mask.
func waitTrap(t *testing.T, e Executor, id string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		code, err := e.Exec(t.Context(), id, runtime.ExecSpec{Args: []string{"grep", "-q", "SigCgt:.*[4-7c-f]...$", "/proc/1/status"}})
		if err != nil {
			t.Fatal(err)
		}
		if code == 0 {
			return
		}
	}
	t.Fatal("the container never caught TERM")
}

func unknownNames(t *testing.T, s Subject) {
	e := open(t, s)
	if _, err := e.StartContainer(t.Context(), s.Spec("nobody", "c", "true")); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("a container without a sandbox gave %v", err)
	}
	if err := e.Signal(t.Context(), "nobody", syscall.SIGTERM); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("signalling nobody gave %v", err)
	}
	if _, err := e.Exec(t.Context(), "nobody", runtime.ExecSpec{Args: []string{"true"}}); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("a command in nobody gave %v", err)
	}
	if err := e.RemoveContainer(t.Context(), "nobody"); err != nil {
		t.Error(err)
	}
	remove(t, e, "nobody")
}

func idempotence(t *testing.T, s Subject) {
	e := open(t, s)
	a := start(t, e, s, "p", "c", forever)
	b := start(t, e, s, "p", "c", forever)
	if a.PID != b.PID || !a.Started.Equal(b.Started) {
		t.Errorf("started twice: %+v and %+v", a, b)
	}
	remove(t, e, "p", "p")
	if x := nextExit(t, e); x.ExitCode != 137 {
		t.Errorf("removed, it ended as %+v", x)
	}
	noExit(t, e)
}

func hundred(t *testing.T, s Subject) {
	const n = 100
	e := open(t, s)
	pods := make([]string, n)
	var wg sync.WaitGroup
	errs := make(chan error, n)
	for i := range pods {
		pods[i] = fmt.Sprintf("p%d", i)
		wg.Go(func() {
			_, err := e.StartSandbox(t.Context(), runtime.SandboxSpec{PodUID: pods[i]})
			if err == nil {
				_, err = e.StartContainer(t.Context(), s.Spec(pods[i], "c"+pods[i], forever))
			}
			errs <- err
		})
	}
	wg.Wait()
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for _, p := range pods {
		wg.Go(func() { remove(t, e, p) })
	}
	seen := map[string]bool{}
	for range n {
		x := nextExit(t, e)
		if seen[x.ID] || x.ExitCode != 137 {
			t.Errorf("an end twice or wrong: %+v", x)
		}
		seen[x.ID] = true
	}
	wg.Wait()
	noExit(t, e)
}

func exitCodes(t *testing.T, s Subject) {
	e := open(t, s)
	for script, want := range map[string]runtime.Container{
		"exit 0":        {ExitCode: 0},
		"exit 7":        {ExitCode: 7},
		"exit 255":      {ExitCode: 255},
		"no-such-thing": {ExitCode: 127},
	} {
		start(t, e, s, "p", "c", script)
		x := nextExit(t, e)
		if x.ExitCode != want.ExitCode || x.Signal != want.Signal {
			t.Errorf("%q ended with %d, signal %d, want %d", script, x.ExitCode, x.Signal, want.ExitCode)
		}
		if err := e.RemoveContainer(t.Context(), "c"); err != nil {
			t.Fatal(err)
		}
	}
	remove(t, e, "p")
}

func commands(t *testing.T, s Subject) {
	e := open(t, s)
	start(t, e, s, "p", "c", forever)
	for _, want := range []int{0, 1, 42} {
		code, err := e.Exec(t.Context(), "c", runtime.ExecSpec{Args: []string{"sh", "-c", fmt.Sprintf("exit %d", want)}})
		if err != nil || code != want {
			t.Errorf("a command ended with %d, %v, want %d", code, err, want)
		}
	}
	remove(t, e, "p")
}

// sharedProcesses: what one container of the pod can see, and what ends with it.
func sharedProcesses(t *testing.T, s Subject) {
	e := open(t, s)
	if _, err := e.StartSandbox(t.Context(), runtime.SandboxSpec{PodUID: "p", SharePID: true}); err != nil {
		t.Fatal(err)
	}
	start(t, e, s, "p", "a", "sleep 4321 & exec sleep 4322")
	start(t, e, s, "p", "b", forever)
	debug := s.Spec("p", "debug", "exec sleep 4323")
	debug.TargetID = "a"
	if _, err := e.StartContainer(t.Context(), debug); err != nil {
		t.Fatal(err)
	}
	sees := func(id, script string) {
		t.Helper()
		if code, err := e.Exec(t.Context(), id, runtime.ExecSpec{Args: []string{"sh", "-c", script}}); err != nil || code != 0 {
			t.Errorf("in %s: %s: %d, %v", id, script, code, err)
		}
	}
	sees("b", "ps | grep -v grep | grep -q 'sleep 4322'")
	sees("debug", "ps | grep -v grep | grep -q 'sleep 4321'")
	if err := e.Signal(t.Context(), "a", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if x := nextExit(t, e); x.ID != "a" || x.ExitCode != 137 {
		t.Errorf("ended as %+v", x)
	}
	sees("b", "ps | grep -v grep | grep -q 'sleep 4323' && ! ps | grep -v grep | grep -q 'sleep 432[12]'")
	remove(t, e, "p")
}

func ownUsers(t *testing.T, s Subject) {
	e := open(t, s)
	if _, err := e.StartSandbox(t.Context(), runtime.SandboxSpec{PodUID: "p", OwnUsers: true}); err != nil {
		t.Fatal(err)
	}
	start(t, e, s, "p", "c", forever)
	code, err := e.Exec(t.Context(), "c", runtime.ExecSpec{Args: []string{"sh", "-c", "test $(id -u) = 0 && ! grep -q ' 0 .* 0 ' /proc/self/uid_map"}})
	if err != nil || code != 0 {
		t.Errorf("root of its own: %d, %v", code, err)
	}
	remove(t, e, "p")
}

// refusedUsers: a pod must not run as the node's root because its runtime knows no better.
func refusedUsers(t *testing.T, s Subject) {
	e := open(t, s)
	if _, err := e.StartSandbox(t.Context(), runtime.SandboxSpec{PodUID: "p", OwnUsers: true}); err == nil {
		t.Error("a pod with users of its own was made without them")
	}
	if l := list(t, e); len(l) != 0 {
		t.Errorf("what was refused is there: %+v", l)
	}
	remove(t, e, "p")
}

func reopened(t *testing.T, s Subject) {
	e := open(t, s)
	before := start(t, e, s, "p", "c", forever)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok := <-e.Exits(); ok {
		t.Error("the exits of a closed executor are open")
	}
	e = open(t, s)
	l := list(t, e)
	if len(l) != 1 || len(l[0].Containers) != 1 || l[0].Containers[0].PID != before.PID || !l[0].Containers[0].Running {
		t.Fatalf("taken up as %+v, want pid %d", l, before.PID)
	}
	if err := e.Signal(t.Context(), "c", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if x := nextExit(t, e); x.ExitCode != 137 {
		t.Errorf("ended as %+v", x)
	}
	remove(t, e, "p")
}

func endedWhileClosed(t *testing.T, s Subject) {
	e := open(t, s)
	c := start(t, e, s, "p", "c", "sleep 0.2; exit 33")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); !zombie(c.PID); {
		if time.Now().After(end) {
			t.Fatal("the container has not ended")
		}
		time.Sleep(5 * time.Millisecond)
	}
	e = open(t, s)
	if x := nextExit(t, e); x.ExitCode != 33 {
		t.Errorf("ended as %+v, want 33", x)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = open(t, s)
	noExit(t, e)
	remove(t, e, "p")
}
