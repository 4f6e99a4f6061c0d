package oci

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openTerminal makes a terminal in the container's own devpts, so that its name means something inside. The
// path is resolved within the container's root and must lead to a real ptmx: the container's user could have put
// anything there.
func openTerminal(pid, uid int) (master, slave *os.File, err error) {
	root, err := unix.Open(fmt.Sprintf("/proc/%d/root", pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the container's root: %w", err)
	}
	defer unix.Close(root)
	how := unix.OpenHow{Flags: unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: unix.RESOLVE_IN_ROOT}
	fd, err := unix.Openat2(root, "dev/pts/ptmx", &how)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the container's ptmx: %w", err)
	}
	master = os.NewFile(uintptr(fd), "ptmx")
	if slave, err = openSlave(fd, uid); err != nil {
		master.Close()
		return nil, nil, err
	}
	return master, slave, nil
}

func openSlave(master, uid int) (*os.File, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(master, &st); err != nil || st.Type != unix.DEVPTS_SUPER_MAGIC {
		return nil, fmt.Errorf("the container's /dev/pts/ptmx is no terminal multiplexer")
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return nil, fmt.Errorf("unlocking the terminal: %w", err)
	}
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, fmt.Errorf("opening the terminal: %w", errno)
	}
	fd := int(n)
	if err := unix.Fchown(fd, uid, -1); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("giving the terminal to its user: %w", err)
	}
	return os.NewFile(uintptr(fd), "tty"), nil
}
