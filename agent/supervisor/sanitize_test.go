package supervisor

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// startSanitized compiles the C files alone with the address and undefined-behaviour sanitizers and starts the
// supervisor from that program. At the end it must stop in order, with nothing said by a sanitizer.
func startSanitized(t *testing.T) (*Client, string) {
	t.Helper()
	dir := t.TempDir()
	prog := filepath.Join(dir, "visor")
	files, err := filepath.Glob("*.c")
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-g", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-o", prog, "testdata/main.c"}, files...)
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("compiling with sanitizers needs gcc and libasan: %v\n%s", err, out)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(prog)
	cmd.Args = []string{supervisorName, dir}
	// Sealing starts the program again, which the sanitizer survives; leaks at exit are its state, by design.
	cmd.Env = []string{"PEAPOD_SUPERVISOR_SEALED=1", "ASAN_OPTIONS=detect_leaks=0"}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		t.Fatalf("starting: %v", err)
	}
	c, err := Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
		c.Close()
		b, _ := os.ReadFile(log.Name())
		if b = bytes.ReplaceAll(b, []byte("supervisor: no lease any more: stopping pod guarded\n"), nil); len(b) > 0 {
			t.Errorf("the supervisor said:\n%s", b)
		}
	})
	return c, dir
}

func TestSanitized(t *testing.T) {
	c, dir := startSanitized(t)
	t.Run("garbage", func(t *testing.T) { garbage(t, dir) })
	t.Run("logs", func(t *testing.T) { logs(t, c, dir) })
	t.Run("holds", func(t *testing.T) { holds(t, c) })
	t.Run("commands", func(t *testing.T) { commands(t, c) })
	t.Run("runs", func(t *testing.T) { runs(t, c) })
	t.Run("abandoned runs", func(t *testing.T) { abandoned(t, c, dir) })
	t.Run("confined commands", func(t *testing.T) { confined(t, c, dir) })
	t.Run("guards", func(t *testing.T) { guards(t, c, dir) })
	if _, err := c.Hello(); err != nil {
		t.Errorf("it no longer answers: %v", err)
	}
}

// garbage: no message, however broken, ends the supervisor.
func garbage(t *testing.T, dir string) {
	verbs := []string{"EXEC", "RUN", "LOG", "FLUSH", "REOPEN", "CLOSE", "HOLD", "ATTACH", "DROP", "KILL", "PUMPS", "BODY", "NOPE", "SYNC", "GUARD", "UNGUARD", "LEASE", "OPEN"}
	rapid.Check(t, func(r *rapid.T) {
		m := newMessage(rapid.SampledFrom(verbs).Draw(r, "verb"))
		for _, f := range rapid.SliceOfN(rapid.StringMatching(`[a-z0-9/-]{0,8}`), 0, 20).Draw(r, "fields") {
			m.str(f)
		}
		body := bytes.Clone(m.body)
		if rapid.Bool().Draw(r, "break") {
			i := rapid.IntRange(0, len(body)-1).Draw(r, "at")
			body[i] ^= byte(rapid.IntRange(1, 255).Draw(r, "by"))
		}
		conn, err := dialSocket(dir)
		if err != nil {
			r.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(body); err != nil {
			r.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(callTimeout))
		if _, _, err := receive(conn); errors.Is(err, os.ErrDeadlineExceeded) {
			r.Fatal("no answer and no end of the connection")
		}
	})
	if n := binary.LittleEndian.Uint32(newMessage("abc").body); n != 3 {
		t.Errorf("a field's length is %d", n)
	}
}

func logs(t *testing.T, c *Client, dir string) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "log of one")
	if err := c.Log("one", Stdout, path, r); err != nil {
		t.Fatal(err)
	}
	r.Close()
	long := strings.Repeat("x", 40000)
	for _, s := range []string{"first\n\n", long + "\n", "part"} {
		if _, err := w.WriteString(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush("one"); err != nil {
		t.Fatal(err)
	}
	// The stream is still open, as when a program that is being started holds a copy of it.
	if text := readLog(t, path); !strings.HasSuffix(text, "|P part|") {
		t.Errorf("the flushed log ends with %q", text[max(0, len(text)-20):])
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := c.Reopen("one"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := c.CloseLogs("one"); err != nil {
		t.Fatal(err)
	}
	text := readLog(t, path+".1") + readLog(t, path)
	if want := "F first|F |P " + long[:16384] + "|P " + long[:16384] + "|F " + long[:40000-2*16384] + "|P part|"; text != want {
		t.Errorf("the log is %q", text)
	}
}

// readLog gives "tag text|" for each line.
func readLog(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 3)
		if len(f) != 3 || f[1] != "stdout" {
			t.Fatalf("not a CRI line: %q", line)
		}
		out.WriteString(f[2] + "|")
	}
	return out.String()
}

func holds(t *testing.T, c *Client) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := c.Hold("h", w); err != nil {
		t.Fatal(err)
	}
	w.Close()
	files, err := c.Attach("h")
	if err != nil || len(files) != 1 {
		t.Fatalf("attached %v, %v", files, err)
	}
	if _, err := files[0].WriteString("through"); err != nil {
		t.Fatal(err)
	}
	files[0].Close()
	if err := c.Drop("h"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	if n, err := r.Read(b); err != nil || string(b[:n]) != "through" {
		t.Errorf("read %q, %v", b[:n], err)
	}
	if _, err := r.Read(b); err == nil {
		t.Error("after Drop there is still a writer")
	}
	if _, err := c.Attach("h"); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("attaching to nothing gave %v", err)
	}
}

// commands run in this test's own namespaces: its pid is a target like any other.
func commands(t *testing.T, c *Client) {
	sleeper := exec.Command("sleep", "1000")
	sleeper.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWUTS}
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sleeper.Process.Kill(); _ = sleeper.Wait() }()
	k := Command{Target: sleeper.Process.Pid, Capabilities: 1<<41 - 1, Args: []string{"sh", "-c", "exit 9"}, Env: []string{"PATH=/bin:/usr/bin"}}
	if code, err := c.Exec(t.Context(), k); err != nil || code != 9 {
		t.Errorf("a command gave %d, %v", code, err)
	}
	k.Env = append(k.Env, "LONG="+strings.Repeat("y", 100<<10)) // goes by memfd
	k.Args = []string{"sh", "-c", "test ${#LONG} = 102400"}
	if code, err := c.Exec(t.Context(), k); err != nil || code != 0 {
		t.Errorf("a long environment gave %d, %v", code, err)
	}
	var failed *StartError
	k.Args = []string{"no-such-program"}
	if _, err := c.Exec(t.Context(), k); !errors.As(err, &failed) || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("a missing program gave %v", err)
	}
	k.Args = []string{"sleep", "1000"}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Exec(ctx, k); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a cancelled command gave %v", err)
	}
}

// program is a seccomp filter of raw instructions.
func program(code ...unix.SockFilter) []byte {
	var b []byte
	for _, i := range code {
		b = binary.NativeEndian.AppendUint16(b, i.Code)
		b = append(b, i.Jt, i.Jf)
		b = binary.NativeEndian.AppendUint32(b, i.K)
	}
	return b
}

// forbid is a filter under which one system call fails with EPERM.
func forbid(call uint32) []byte {
	return program(
		unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // its number
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1},
		unix.SockFilter{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		unix.SockFilter{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW})
}

// confined: a command has the filter, the limits, the user namespace and the flags that its EXEC names.
func confined(t *testing.T, c *Client, dir string) {
	sleeper := exec.Command("sleep", "1000")
	sleeper.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 70000, Size: 1000}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 70000, Size: 1000}}, GidMappingsEnableSetgroups: true,
		Credential: &syscall.Credential{}}
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sleeper.Process.Kill(); _ = sleeper.Wait() }()
	file := filepath.Join(dir, "filter")
	if err := os.WriteFile(file, EncodeFilter(0, forbid(unix.SYS_UNAME)), 0o600); err != nil {
		t.Fatal(err)
	}
	whole := Command{Target: sleeper.Process.Pid, Capabilities: 1<<41 - 1, Env: []string{"PATH=/bin:/usr/bin"}}
	for name, set := range map[string]func(k *Command){
		"test $(ulimit -Sn)-$(ulimit -Hn) = 77-99":                                            func(k *Command) { k.Rlimits = []Rlimit{{unix.RLIMIT_NOFILE, 77, 99}} },
		"grep -q 'Seccomp:.2' /proc/self/status && ! uname >/dev/null 2>&1":                   func(k *Command) { k.SeccompFile = file },
		"grep -q 'Seccomp:.2' /proc/self/status && grep -q 'NoNewPrivs:.1' /proc/self/status": func(k *Command) { k.SeccompFile, k.NoNewPrivs = file, true },
		"grep -q '^ *0 *70000 *1000$' /proc/self/uid_map && test $(id -u) = 7":                func(k *Command) { k.OwnUsers, k.UID, k.GID = true, 7, 8 },
		"grep -q 'Seccomp:.2' /proc/self/status && test \"$(id -G)\" = '8 9'":                 func(k *Command) { k.OwnUsers, k.UID, k.GID, k.Groups, k.SeccompFile = true, 7, 8, []uint32{9}, file },
		"test $(umask) = 0022": func(k *Command) {},
	} {
		k := whole
		k.Args = []string{"sh", "-c", name}
		set(&k)
		if code, err := c.Exec(t.Context(), k); err != nil || code != 0 {
			t.Errorf("%s: %d, %v", name, code, err)
		}
	}
	for name, text := range map[string][]byte{"empty": {}, "count": EncodeFilter(0, forbid(1))[:20], "none": EncodeFilter(0, nil), "flags": EncodeFilter(1<<31, forbid(1)), "nonsense": EncodeFilter(0, program(unix.SockFilter{Code: 0xffff}))} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		k := whole
		k.SeccompFile, k.Args = file, []string{"true"}
		var failed *StartError
		if _, err := c.Exec(t.Context(), k); !errors.As(err, &failed) || failed.Step != "seccomp filter" {
			t.Errorf("a filter that is %s: %v", name, err)
		}
	}
	k := whole
	k.Args, k.SeccompFile = []string{"true"}, filepath.Join(dir, "nowhere")
	if _, err := c.Exec(t.Context(), k); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("a filter that is not there: %v", err)
	}
	k.SeccompFile, k.AppArmor = "", "no-such-profile"
	if _, err := c.Exec(t.Context(), k); err == nil {
		t.Error("an AppArmor profile that nobody has loaded: the command ran")
	}
}

// cgroupOf makes a cgroup with one process in it.
func cgroupOf(t *testing.T, name string) (dir string, sleeper *exec.Cmd) {
	t.Helper()
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(root + "/cgroup.procs"); err != nil {
		root += "/pids" // version 1
	}
	dir = filepath.Join(root, fmt.Sprintf("peapod-test-%d", os.Getpid()), name)
	if err := os.MkdirAll(filepath.Join(dir, "container"), 0o755); err != nil {
		t.Fatal(err)
	}
	sleeper = exec.Command("sleep", "1000")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = sleeper.Process.Kill()
		_ = sleeper.Wait()
		for _, d := range []string{filepath.Join(dir, "container"), dir, filepath.Dir(dir)} {
			if err := os.Remove(d); err != nil {
				t.Error(err)
			}
		}
	})
	if err := os.WriteFile(filepath.Join(dir, "container", "cgroup.procs"), []byte(strconv.Itoa(sleeper.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	return dir, sleeper
}

func guards(t *testing.T, c *Client, dir string) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"/", dir, "/sys/fs/cgroup", "guarded"} {
		if err := c.Guard("guarded", time.Duration(now.Nano())+time.Hour, []string{bad}); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("guarding %s gave %v", bad, err)
		}
	}
	group, sleeper := cgroupOf(t, "guarded")
	if err := c.Guard("guarded", time.Duration(now.Nano())+500*time.Millisecond, []string{group, group + "-that-is-not-there/guarded"}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, "/nowhere"} {
		err := c.Open("guarded", path, "gate")
		if ok := err == nil; ok != (path == dir) {
			t.Errorf("opening %s gave %v", path, err)
		}
	}
	if err := c.Drop("gate"); err != nil {
		t.Fatal(err)
	}
	_ = sleeper.Wait()
	if got := sleeper.ProcessState.Sys().(syscall.WaitStatus); got.Signal() != syscall.SIGKILL {
		t.Errorf("the process ended as %v", got)
	}
	if err := c.Open("guarded", dir, "gate"); !errors.Is(err, syscall.ESTALE) {
		t.Errorf("opening without a lease gave %v", err)
	}
	if pods, err := c.Lease(0); err != nil || len(pods) != 1 || pods["guarded"] {
		t.Errorf("guarded are %v, %v", pods, err)
	}
	if err := c.Unguard("guarded"); err != nil {
		t.Fatal(err)
	}
}
