package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// processorTime is what a process has used, in seconds; 0 stands for this one.
func processorTime(pid int) float64 {
	if pid == 0 {
		return clock(unix.CLOCK_PROCESS_CPUTIME_ID)
	}
	return clock(int32(^pid)<<3 | 2) // as clock_getcpuclockid(3) makes it
}

// threadTime is what the calling thread has used.
func threadTime() float64 { return clock(unix.CLOCK_THREAD_CPUTIME_ID) }

func clock(clock int32) float64 {
	var t unix.Timespec
	if unix.ClockGettime(clock, &t) != nil {
		return 0
	}
	return float64(t.Nano()) / 1e9
}

func processorTimes(pids []int) (sum float64) {
	for _, pid := range pids {
		sum += processorTime(pid)
	}
	return sum
}

// calls counts the system calls that processes make from now on.
type calls struct{ fds []int }

const (
	tracing     = "/sys/kernel/tracing"
	anyCallID   = "events/raw_syscalls/sys_enter/id"
	tracefsType = "tracefs"
)

func countCalls(pids []int) (*calls, error) {
	raw, err := os.ReadFile(filepath.Join(tracing, anyCallID))
	if err != nil {
		_ = unix.Mount(tracefsType, tracing, tracefsType, 0, "")
		if raw, err = os.ReadFile(filepath.Join(tracing, anyCallID)); err != nil {
			return nil, err
		}
	}
	id, err := strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64)
	if err != nil {
		return nil, err
	}
	c := &calls{}
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Size: unix.PERF_ATTR_SIZE_VER5, Config: id}
	for _, pid := range pids {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return nil, err
		}
		for _, t := range tasks {
			tid, _ := strconv.Atoi(t.Name())
			fd, err := unix.PerfEventOpen(&attr, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
			if err != nil {
				c.end()
				return nil, fmt.Errorf("counting system calls: %w", err)
			}
			c.fds = append(c.fds, fd)
		}
	}
	return c, nil
}

// end returns the number of calls since countCalls.
func (c *calls) end() (sum float64) {
	var b [8]byte
	for _, fd := range c.fds {
		if n, err := unix.Read(fd, b[:]); err == nil && n == 8 {
			sum += float64(binary.NativeEndian.Uint64(b[:]))
		}
		_ = unix.Close(fd)
	}
	return sum
}

// resident is the memory of processes in KiB.
func resident(pids []int) (sum float64) {
	for _, pid := range pids {
		sum += kibibytes(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:")
	}
	return sum
}

// slab is the kernel's memory for its objects, in KiB, of the whole machine.
func slab() float64 { return kibibytes("/proc/meminfo", "Slab:") }

func kibibytes(file, field string) float64 {
	raw, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == field {
			v, _ := strconv.ParseFloat(f[1], 64)
			return v
		}
	}
	return 0
}

func descriptors(pids []int) (sum float64) {
	for _, pid := range pids {
		if d, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); err == nil {
			sum += float64(len(d))
		}
	}
	return sum
}
