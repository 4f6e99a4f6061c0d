package containerd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Shims are the processes that it has started, one for each sandbox.
func (d *Daemon) Shims() (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || !bytes.Contains(b, []byte(d.Socket())) || !bytes.Contains(b, []byte("containerd-shim")) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Children are a process's own.
func Children(pid int) (pids []int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		b, _ := os.ReadFile(f) // a thread that has ended has none
		for _, w := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(w); err == nil {
				pids = append(pids, n)
			}
		}
	}
	return pids
}

// Remove ends it. What it should not have left is the error: mounts, and shims that run something. Lost are shims that run nothing:
// containerd forgets one if it dies itself, or the call breaks off, while a sandbox is made or removed. None of this is there afterwards.
func (d *Daemon) Remove() (lost []int, err error) {
	d.Kill()
	var faults []error
	for _, pid := range d.Shims() {
		if runs := Children(pid); len(runs) > 0 {
			faults = append(faults, fmt.Errorf("the shim %d still runs %d", pid, runs))
		}
		lost = append(lost, pid)
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have gone by itself
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	faults = append(faults, err)
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, d.Dir) {
			faults = append(faults, fmt.Errorf("a mount is left: %s", line))
			_ = syscall.Unmount(strings.Fields(line)[4], syscall.MNT_DETACH) // the directory goes next
		}
	}
	return lost, errors.Join(append(faults, os.RemoveAll(d.Dir))...)
}
