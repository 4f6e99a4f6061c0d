package oci

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// startTime is field 22 of /proc/PID/stat, 0 if there is no such process.
func startTime(pid int) uint64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 20 {
		return 0
	}
	n, err := strconv.ParseUint(string(f[19]), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot's id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// openProcess returns a pidfd of exactly this process, or ESRCH. A zombie counts as the process.
func openProcess(p process) (int, error) {
	if p.PID <= 0 {
		return -1, unix.ESRCH
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return -1, err
	}
	if t := startTime(p.PID); t == 0 || t != p.StartTime {
		unix.Close(fd)
		return -1, unix.ESRCH
	}
	return fd, nil
}

// waitStatus is what wait(2) says of a child that has ended.
type waitStatus struct{ code int }

// siginfoChild is the part of siginfo_t that waitid fills, on 64-bit Linux.
type siginfoChild struct {
	signo, errno, code, _ int32
	pid                   int32
	uid                   uint32
	status                int32
	_                     [100]byte
}

const (
	cldExited = 1
	pPIDFD    = 3
)

// waitPidfd asks about a child. ok is false when it still runs; ECHILD when it is another's child.
func waitPidfd(fd, options int) (st waitStatus, ok bool, err error) {
	var si siginfoChild
	for {
		_, _, e := unix.Syscall6(unix.SYS_WAITID, pPIDFD, uintptr(fd), uintptr(unsafe.Pointer(&si)),
			uintptr(unix.WEXITED|unix.WNOHANG|options), 0, 0)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return waitStatus{}, false, e
		}
		break
	}
	if si.pid == 0 {
		return waitStatus{}, false, nil
	}
	code := int(si.status)
	if si.code != cldExited {
		code += 128
	}
	return waitStatus{code}, true, nil
}

// pidfdInfo is the kernel's struct pidfd_info (64 bytes, first published size).
type pidfdInfo struct {
	mask     uint64
	cgroupID uint64
	ids      [11]uint32
	exitCode int32
}

const (
	pidfdGetInfo  = 0xC040FF0B // _IOWR(0xFF, 11, struct pidfd_info)
	pidfdInfoExit = 1 << 3
)

// lastWords asks the kernel (6.15 and later) how a process ended that somebody else has reaped.
func lastWords(fd int) (waitStatus, bool) {
	info := pidfdInfo{mask: pidfdInfoExit}
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
	if e != 0 || info.mask&pidfdInfoExit == 0 {
		return waitStatus{}, false
	}
	ws := unix.WaitStatus(info.exitCode)
	if ws.Signaled() {
		return waitStatus{128 + int(ws.Signal())}, true
	}
	return waitStatus{ws.ExitStatus()}, true
}
