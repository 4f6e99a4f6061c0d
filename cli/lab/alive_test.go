package lab

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const leaderless = "PEAPOD_LAB_TEST_LEADERLESS"

// A process whose first thread has ended while others go on: initialisation is on the first.
func init() {
	if os.Getenv(leaderless) != "" {
		_, _, _ = unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
	}
}

// A process is taken for ended when it has, and not while its first thread is a zombie and others live, as when one of them executes a program.
func TestAliveWithoutItsFirstThread(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), leaderless+"=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	becomes := func(what string, is func(stat) bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			if s, err := readStat(p.PID); err != nil || is(s) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	becomes("the first thread does not end", func(s stat) bool { return s.state == 'Z' })
	if !p.alive() {
		t.Error("it is taken for ended")
	}
	_ = cmd.Process.Kill()
	becomes("its threads do not end", stat.ended)
	if p.alive() {
		t.Error("a zombie is taken for alive")
	}
	_ = cmd.Wait()
	if p.alive() {
		t.Error("what is gone is taken for alive")
	}
}
