package supervisor

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// runs: what a command of RUN writes and how it ends, in this test's own namespaces.
func runs(t *testing.T, c *Client) {
	sleeper := exec.Command("sleep", "1000")
	sleeper.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWUTS}
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sleeper.Process.Kill(); _ = sleeper.Wait() }()
	k := Command{Target: sleeper.Process.Pid, Capabilities: 1<<41 - 1, Env: []string{"PATH=/bin:/usr/bin"}}
	for _, r := range []struct {
		script string
		bytes  int
		uid    uint32
		code   int
		output string
	}{
		{"exit 9", 100, 0, 9, ""},
		{"echo out; echo err >&2; echo again", 100, 0, 0, "out\nerr\nagain\n"},
		{"printf 'a\\0b'; kill -TERM $$", 100, 0, 128 + 15, "a\x00b"},
		{"printf 12345", 3, 0, 0, "123"},
		{"echo lost; exit 1", 0, 0, 1, ""},
		{"head -c 1000000 /dev/zero | tr '\\0' x; exit 4", 5000, 0, 4, strings.Repeat("x", 5000)},
		{"head -c 200000 /dev/zero | tr '\\0' y", 1 << 30, 0, 0, strings.Repeat("y", OutputBytesMax)},
		{"(sleep 0.1; echo late) & exit 5", 100, 0, 5, "late\n"}, // what was left behind is waited for, as with pipes
		{"echo mine >/dev/stderr", 100, 12345, 0, "mine\n"},      // the pipe can be opened by its name
		{"read x; echo $?", 100, 0, 0, "1\n"},
	} {
		k.Args, k.UID = []string{"sh", "-c", r.script}, r.uid
		code, out, err := c.Run(t.Context(), k, r.uid, r.bytes)
		if err != nil || code != r.code || string(out) != r.output {
			t.Errorf("%s: %d, %.40q (%d bytes), %v", r.script, code, out, len(out), err)
		}
	}
	k.UID = 0
	var failed *StartError
	k.Args = []string{"no-such-program"}
	if code, _, err := c.Run(t.Context(), k, 0, 10); code != 127 || !errors.As(err, &failed) || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("a missing program gave %d, %v", code, err)
	}
	k.Args, k.Target = []string{"true"}, 1<<30
	var refused *Error
	if _, _, err := c.Run(t.Context(), k, 0, 10); !errors.As(err, &refused) {
		t.Errorf("a target that is not there gave %v", err)
	}
	k.Target = sleeper.Process.Pid
	cancelledRuns(t, c, k)
	if s, err := c.Status(); err != nil || s.Commands != 0 {
		t.Errorf("commands are left: %+v, %v", s, err)
	}
}

// cancelledRuns: whether the command itself hangs or something that it has left behind, a cancelled run ends.
func cancelledRuns(t *testing.T, c *Client, k Command) {
	for _, script := range []string{"echo begun; exec sleep 1000", "sleep 3 & echo begun; exit 7", "trap '' TERM; while :; do :; done"} {
		k.Args = []string{"sh", "-c", script}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		began := time.Now()
		if _, _, err := c.Run(ctx, k, 0, 100); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*time.Second {
			t.Errorf("%s: cancelled, it gave %v after %s", script, err, time.Since(began))
		}
		cancel()
	}
}

// abandoned: a command whose client has gone runs on, and neither blocks nor stays in memory.
func abandoned(t *testing.T, c *Client, dir string) {
	mark := filepath.Join(dir, "mark")
	k := Command{Target: os.Getpid(), Capabilities: 1<<41 - 1, Env: []string{"PATH=/bin:/usr/bin"},
		Args: []string{"sh", "-c", "head -c 1000000 /dev/zero; touch " + mark}}
	conn, err := c.begin(k.message(newMessage("RUN").num(10).num(0)))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	for end := time.Now().Add(callTimeout); ; time.Sleep(time.Millisecond) {
		s, err := c.Status()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(mark); err == nil && s.Commands == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("it did not come to its end: %+v", s)
		}
	}
}

// FuzzRun: an answer to RUN that is taken says what the message says, whatever bytes the output has.
func FuzzRun(f *testing.F) {
	f.Add(append(newMessage("RAN").num(3).body, "out\x00put"...))
	f.Add(newMessage("FAILED").num(2).str("namespaces").body)
	f.Add(newMessage("ERR").num(22).str("why").body)
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseRun(b)
		if err != nil {
			return
		}
		m := newMessage("FAILED")
		if a.ended {
			m = newMessage("RAN").num(a.code)
		} else {
			m.num(int(a.failed.Errno)).str(a.failed.Step)
		}
		again, err := parseRun(append(m.body, a.output...))
		if err != nil || again.ended != a.ended || again.code != a.code || !bytes.Equal(again.output, a.output) {
			t.Fatalf("%q was read as %+v, and that as %+v, %v", b, a, again, err)
		}
		if !a.ended && *again.failed != *a.failed {
			t.Fatalf("%q failed as %v, and that as %v", b, a.failed, again.failed)
		}
	})
}
