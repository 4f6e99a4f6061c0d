package kubectltest

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/e2e/kit"
)

// box runs a pod of busybox with a shell script.
func box(t *testing.T, k kit.Kubectl, name, script string) {
	t.Helper()
	k.Must(t, "run", name, "--image=busybox", "--image-pull-policy=IfNotPresent", "--restart=Never", "--", "sh", "-c", script)
}

func TestLogs(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	box(t, k, "count", "for i in $(seq 1 500); do echo line $i; done; echo bad >&2; until [ -e /tmp/go ]; do sleep 0.1; done; echo end; exit 3")
	k.Must(t, "wait", "--for=condition=Ready", "pod/count", "--timeout=30s")
	c := lines(t, k, "logs", "-f", "count")
	awaitLine(t, c, "line 500")
	kit.Eventually(t, limit, "the tail", func() error {
		return kit.Matches(k.Must(t, "logs", "count", "--tail=2"), `\Aline 500\nbad\n\z`)
	})
	if got := strings.Count(k.Must(t, "logs", "count"), "\n"); got != 501 {
		t.Errorf("%d lines, want 501", got)
	}
	kit.WantMatch(t, k.Must(t, "logs", "count", "--timestamps", "--tail=1"), `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z bad$`)
	kit.WantMatch(t, k.Must(t, "logs", "count", "--limit-bytes=6"), `\Aline 1\z`)
	k.Must(t, "exec", "count", "--", "touch", "/tmp/go")
	awaitLine(t, c, "end")
	for range c { // the stream ends with the container
	}
	kit.Eventually(t, limit, "the exit code", func() error {
		return kit.Matches(k.Must(t, "get", "pod", "count", "-o", "jsonpath={.status.phase} {.status.containerStatuses[0].state.terminated.exitCode} {.status.containerStatuses[0].state.terminated.reason}"), `^Failed 3 Error$`)
	})
	kit.WantMatch(t, k.Must(t, "get", "pod", "count"), `^count +0/1 +Error +0 `)
	if got := strings.Count(k.Must(t, "logs", "count"), "\n"); got != 502 {
		t.Errorf("%d lines after the end, want 502", got)
	}
	kit.WantMatch(t, k.Fail(t, "logs", "count", "-c", "other"), `container other is not valid for pod count`)
	kit.WantMatch(t, k.Fail(t, "logs", "count", "--previous"), `previous terminated container "count" in pod "count" not found`)
}

func TestExec(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	box(t, k, "box", "sleep 1000")
	k.Must(t, "wait", "--for=condition=Ready", "pod/box", "--timeout=30s")
	r := k.Try("exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
	if r.Out != "out\n" || !strings.HasPrefix(r.Err, "err\n") || r.Code != 7 {
		t.Errorf("%+v", r)
	}
	kit.WantMatch(t, r.Err, `^command terminated with exit code 7$`)
	k.In(strings.Repeat("0123456789abcdef", 65536)).Want(t, "1048576", "exec", "-i", "box", "--", "wc", "-c")
	kit.WantMatch(t, k.Fail(t, "exec", "box", "--", "/nothing"), `/nothing`, `no such file or directory|not found`)
	k.Want(t, "box", "exec", "box", "--", "hostname")
}

// pty is a pair of terminal ends.
func pty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	m, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	if err := unix.IoctlSetPointerInt(int(m.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(m.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	s, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := unix.IoctlSetWinsize(int(s.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 111}); err != nil {
		t.Fatal(err)
	}
	return m, s
}

func TestExecTerminal(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	k.Must(t, "run", "demo", "--image=peapod/demo")
	k.Must(t, "wait", "--for=condition=Ready", "pod/demo", "--timeout=30s")
	box(t, k, "box", "sleep 1000")
	k.Must(t, "wait", "--for=condition=Ready", "pod/box", "--timeout=30s")
	for _, pod := range []string{"demo", "box"} {
		master, slave := pty(t)
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		cmd := k.Command(ctx, "exec", "-it", pod, "--", "sh")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		slave.Close()
		got := make(chan string, 1)
		go func() {
			var out bytes.Buffer
			_, _ = out.ReadFrom(master) // ends with EIO when the other end closes
			got <- out.String()
		}()
		time.Sleep(500 * time.Millisecond) // typing before the terminal is raw would be echoed twice
		if _, err := master.WriteString("echo $((40+2))-two; tty || test -t 0 && echo term\nexit 5\n"); err != nil {
			t.Fatal(err)
		}
		err := cmd.Wait()
		out := <-got
		if code := cmd.ProcessState.ExitCode(); code != 5 {
			t.Errorf("%s: %v, want exit code 5\n%s", pod, err, out)
		}
		kit.WantMatch(t, out, `42-two`)
	}
}

func TestCopy(t *testing.T) {
	t.Parallel()
	_, k := space(t)
	box(t, k, "box", "sleep 1000")
	k.Must(t, "wait", "--for=condition=Ready", "pod/box", "--timeout=30s")
	dir := t.TempDir()
	want := bytes.Repeat([]byte("peas\n"), 100_000)
	if err := os.WriteFile(filepath.Join(dir, "a"), want, 0o644); err != nil {
		t.Fatal(err)
	}
	k.Must(t, "cp", filepath.Join(dir, "a"), "box:/tmp/a")
	k.Must(t, "cp", "box:/tmp/a", filepath.Join(dir, "b"))
	if got, err := os.ReadFile(filepath.Join(dir, "b")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v, %d bytes back, want %d", err, len(got), len(want))
	}
}
