package cri

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// testLogs: the runtime writes the log where the agent reads it, and goes on in a new file.
func testLogs(t *testing.T, n *node) {
	e := n.open(t)
	list(t, e)
	spec := n.spec("pod-l", "log", "echo first; while ! test -e /tmp/more; do sleep 0.05; done; echo second >&2; "+forever)
	n.start(t, e, spec)
	holds := func(text string) func() error {
		return func() error {
			b, err := os.ReadFile(spec.LogPath)
			if err == nil && !strings.Contains(string(b), text) {
				err = fmt.Errorf("the log is %q", b)
			}
			return err
		}
	}
	eventually(t, "the first line", holds(" stdout F first\n"))
	if err := os.Rename(spec.LogPath, spec.LogPath+".1"); err != nil {
		t.Fatal(err)
	}
	if err := e.ReopenLog(t.Context(), "log"); err != nil {
		t.Fatal(err)
	}
	if code, err := e.Exec(t.Context(), "log", runtime.ExecSpec{Args: []string{"touch", "/tmp/more"}}); code != 0 || err != nil {
		t.Fatal(code, err)
	}
	eventually(t, "the line after the rotation", holds(" stderr F second\n"))
	remove(t, e, "pod-l")
	exit(t, e)
}

// testStreams: a command's input, both outputs and exit code, and its end with its caller.
func testStreams(t *testing.T, n *node) {
	e := n.open(t)
	list(t, e)
	n.start(t, e, n.spec("pod-s", "streams", forever))
	var out, errs bytes.Buffer
	code, err := e.Exec(t.Context(), "streams", runtime.ExecSpec{Args: []string{"sh", "-c", "cat; echo wrong >&2; exit 9"}, Stdin: strings.NewReader("in\n"), Stdout: &out, Stderr: &errs})
	if code != 9 || err != nil || out.String() != "in\n" || errs.String() != "wrong\n" {
		t.Errorf("code %d, %v, %q, %q", code, err, out.String(), errs.String())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := e.Exec(ctx, "streams", runtime.ExecSpec{Args: []string{"sleep", "1001"}, Stdout: &out, Buffered: true}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a command that ran out of time: %v", err)
	}
	eventually(t, "the command ends when its time is up", func() error {
		var ps bytes.Buffer
		if _, err := e.Exec(t.Context(), "streams", runtime.ExecSpec{Args: []string{"ps"}, Stdout: &ps, Buffered: true}); err != nil {
			return err
		}
		if strings.Contains(ps.String(), "sleep 1001") {
			return errors.New(ps.String())
		}
		return nil
	})
	if code, err := e.Exec(t.Context(), "streams", runtime.ExecSpec{Args: []string{"/no/such/program"}, Stdout: &out}); err == nil && code == 0 {
		t.Error("a program that is not there ran")
	}
	remove(t, e, "pod-s")
	exit(t, e)
}

func testTerminal(t *testing.T, n *node) {
	e := n.open(t)
	list(t, e)
	n.start(t, e, n.spec("pod-t", "terminal", forever))
	sizes := make(chan runtime.WindowSize, 2)
	sizes <- runtime.WindowSize{Width: 123, Height: 45}
	in, typed := io.Pipe()
	out := &lockedBuffer{}
	done := make(chan error, 1)
	go func() {
		code, err := e.Exec(t.Context(), "terminal", runtime.ExecSpec{Args: []string{"sh"}, TTY: true, Stdin: in, Stdout: out, Resize: sizes})
		if err == nil && code != 5 {
			err = fmt.Errorf("the shell ended with %d, want 5", code)
		}
		done <- err
	}()
	eventually(t, "the terminal has the size", func() error {
		if _, err := io.WriteString(typed, "stty size\n"); err != nil {
			return err
		}
		if !strings.Contains(out.String(), "45 123") {
			return fmt.Errorf("%q", out.String())
		}
		return nil
	})
	if _, err := io.WriteString(typed, "exit 5\n"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	typed.Close()
	close(sizes)
	remove(t, e, "pod-t")
	exit(t, e)
}

// testAttach: with stdinOnce the first client's end of input is the container's.
func testAttach(t *testing.T, n *node) {
	e := n.open(t)
	list(t, e)
	spec := n.spec("pod-a", "attach", "while read l; do echo got $l; done; echo over; exit 4")
	spec.Stdin, spec.StdinOnce = true, true
	n.start(t, e, spec)
	var out bytes.Buffer
	if err := e.Attach(t.Context(), "attach", runtime.ExecSpec{Stdin: strings.NewReader("a\nb\n"), Stdout: &out}); err != nil {
		t.Error(err)
	}
	if out.String() != "got a\ngot b\nover\n" {
		t.Errorf("attached, the container said %q", out.String())
	}
	if x := exit(t, e); x.ExitCode != 4 {
		t.Errorf("ended as %+v", x)
	}
	if err := e.Attach(t.Context(), "attach", runtime.ExecSpec{Stdout: &out}); !errors.Is(err, runtime.ErrNotRunning) {
		t.Errorf("attaching to what has ended gave %v", err)
	}
	remove(t, e, "pod-a")
}
