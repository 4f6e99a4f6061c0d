package main

import (
	"fmt"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The load generators make their system calls without telling Go's scheduler, even those that block: each has a thread and a
// processor of the scheduler for itself, and nothing is collected while they run. So they cost little beside what is measured.

const (
	edge    = 1 << 31 // EPOLLET, which x/sys holds as a negative number
	backlog = 8192
	udpRoom = 4 << 20
)

func rawRead(fd int, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), e
}

func rawSend(fd int, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
	return int(n), e
}

func rawClose(fd int) { _, _, _ = syscall.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// rawWait waits for events, for so many milliseconds or for ever (-1).
func rawWait(ep int, events []unix.EpollEvent, timeout int) int {
	n, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(ep), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(timeout), 0, 0)
	if e != 0 {
		return 0
	}
	return int(n)
}

func rawWatch(ep, fd int, events uint32) error {
	return unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

func sockaddr(a netip.AddrPort) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

// dialled opens a connected TCP socket; it does not block afterwards.
func dialled(to netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, sockaddr(to)); err != nil {
		rawClose(fd)
		return -1, fmt.Errorf("connecting to %s: %w", to, err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	return fd, unix.SetNonblock(fd, true)
}

// listening opens a TCP socket on a port of every address.
func listening(port int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port}); err != nil {
		return -1, err
	}
	return fd, unix.Listen(fd, backlog)
}

func datagramSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, udpRoom)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, udpRoom)
	return fd, nil
}

const datagrams = 64 // in one call

// message is the kernel's mmsghdr.
type message struct {
	head unix.Msghdr
	size uint32
	_    uint32
}

// mail is a buffer for many datagrams and their senders.
type mail struct {
	messages [datagrams]message
	vectors  [datagrams]unix.Iovec
	from     [datagrams]unix.RawSockaddrInet4
	memory   [datagrams][2048]byte
}

func newMail() *mail {
	m := &mail{}
	for i := range m.messages {
		m.vectors[i].Base = &m.memory[i][0]
		m.messages[i].head.Iov, m.messages[i].head.Iovlen = &m.vectors[i], 1
	}
	return m
}

// receive reads what is there, with the senders' addresses if they are to be answered.
func (m *mail) receive(fd int, named bool) int {
	for i := range m.messages {
		m.vectors[i].Len = uint64(len(m.memory[i]))
		if named {
			m.messages[i].head.Name, m.messages[i].head.Namelen = (*byte)(unsafe.Pointer(&m.from[i])), unix.SizeofSockaddrInet4
		}
	}
	n, _, e := syscall.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.messages[0])), datagrams, unix.MSG_DONTWAIT, 0, 0)
	if e != 0 {
		return 0
	}
	for i := range int(n) {
		m.vectors[i].Len = uint64(m.messages[i].size)
	}
	return int(n)
}

// send sends the first n datagrams; what the kernel does not take is lost.
func (m *mail) send(fd, n int) {
	for at := 0; at < n; {
		k, _, e := syscall.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.messages[at])), uintptr(n-at), unix.MSG_DONTWAIT, 0, 0)
		if e == syscall.EINTR || e == syscall.ECONNREFUSED {
			continue
		}
		if e != 0 {
			return
		}
		at += int(k)
	}
}
