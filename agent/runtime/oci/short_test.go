package oci

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/supervisor"
)

// short runs a command as probes do.
func (n *node) short(e *Executor, id, script string) (string, int) {
	n.t.Helper()
	var out bytes.Buffer
	code, err := e.Exec(n.t.Context(), id, runtime.ExecSpec{Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out, Buffered: true})
	if err != nil {
		n.t.Fatalf("%s: %v", script, err)
	}
	return out.String(), code
}

// A short command is in all of the container's cgroups, has its user and its environment, and may open its outputs by name.
func TestShortExec(t *testing.T) {
	n := newNode(t)
	e := n.open()
	spec := n.spec("p", "c", "sleep 1000")
	spec.UID, spec.GID = 1234, 1234
	c := n.start(e, "p", spec)
	for script, want := range map[string]string{
		"id -u; echo $HOME; exit 7":                "1234\n/\n",
		"echo to it >/dev/stderr":                  "to it\n",
		"ls -l /proc/self/fd/0 | grep -o '[^ ]*$'": "/dev/null\n",
	} {
		if out, code := n.short(e, "c", script); out != want || (code != 0) != strings.Contains(script, "exit") {
			t.Errorf("%s: %q, %d", script, out, code)
		}
	}
	if out, code := n.short(e, "c", "cat /proc/self/cgroup"); code != 0 || out != readFile(t, fmt.Sprintf("/proc/%d/cgroup", c.PID)) {
		t.Errorf("its cgroups are not the container's: %s", out)
	}
	var out bytes.Buffer
	if _, err := e.Exec(t.Context(), "c", runtime.ExecSpec{Args: []string{"nothing"}, Stdout: &out, Stderr: &out, Buffered: true}); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("a missing program gave %v", err)
	}
}

// A supervisor that becomes another program keeps short commands that run, and answers for them.
func TestShortExecUpgrade(t *testing.T) {
	n := newNode(t)
	e := n.open()
	n.start(e, "p", n.spec("p", "c", "sleep 1000"))
	type result struct {
		out  string
		code int
		err  error
	}
	done := make(chan result, 1)
	script := "touch /begun; until test -e /go; do :; done; echo after; exit 3"
	go func() {
		var out bytes.Buffer
		code, err := e.Exec(t.Context(), "c", runtime.ExecSpec{Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out, Buffered: true})
		done <- result{out.String(), code, err}
	}()
	n.want(e, "c", "until test -e /begun; do :; done")
	c, err := supervisor.Dial(n.cfg.SupervisorDir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Upgrade(t.Context(), exe); err != nil {
		t.Fatal(err)
	}
	n.want(e, "c", "touch /go")
	select {
	case r := <-done:
		if r.err != nil || r.code != 3 || r.out != "after\n" {
			t.Errorf("%+v", r)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("no answer")
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
