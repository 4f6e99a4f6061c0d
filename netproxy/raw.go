package netproxy

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls below never block (their descriptors are non-blocking), so they go to the kernel without telling
// Go's scheduler; that is worth about a quarter of a small request.

func rawRead(fd int, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), e
}

// rawReceive reads from a socket; that is a little less work for the kernel than read(2), which asks first what kind of file it is.
func rawReceive(fd int, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), e
}

func rawSend(fd int, b []byte, flags uintptr) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT|flags, 0, 0)
	return int(n), e
}

func rawSplice(in, out, n int) (int, syscall.Errno) {
	r, _, e := syscall.RawSyscall6(unix.SYS_SPLICE, uintptr(in), 0, uintptr(out), 0, uintptr(n),
		unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
	return int(r), e
}

func rawClose(fd int) {
	_, _, _ = syscall.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
}

func rawShutdownWrite(fd int) {
	_, _, _ = syscall.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
}

func rawSetInt(fd, level, option int, value int32) {
	_, _, _ = syscall.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&value)), 4, 0)
}

var unpaced = [4]byte{'r', 'e', 'n', 'o'}

// rawUnpace has a socket whose other end is on this machine send without pacing, whatever the machine's congestion control is. BBR's
// sets a timer for each few segments, and nothing on the way can be congested.
func rawUnpace(fd int) {
	_, _, _ = syscall.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION,
		uintptr(unsafe.Pointer(&unpaced)), unsafe.Sizeof(unpaced), 0)
}

// rawAbort makes the peer see a reset instead of an end.
func rawAbort(fd int) {
	linger := [2]int32{1, 0}
	_, _, _ = syscall.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_LINGER,
		uintptr(unsafe.Pointer(&linger)), 8, 0)
}

func rawSocket(family, kind int) (int, syscall.Errno) {
	fd, _, e := syscall.RawSyscall(unix.SYS_SOCKET, uintptr(family),
		uintptr(kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC), 0)
	return int(fd), e
}

func rawAccept(fd int, from *sockaddr) (int, syscall.Errno) {
	from.size = uint32(unsafe.Sizeof(from.raw))
	n, _, e := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&from.raw)),
		uintptr(unsafe.Pointer(&from.size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int(n), e
}

func rawConnect(fd int, to *sockaddr) syscall.Errno {
	_, _, e := syscall.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&to.raw)), uintptr(to.size))
	return e
}

func rawEpollAdd(ep, fd int, events uint32, generation uint32) syscall.Errno {
	return rawEpollControl(ep, unix.EPOLL_CTL_ADD, fd, events, generation)
}

func rawEpollChange(ep, fd int, events uint32, generation uint32) syscall.Errno {
	return rawEpollControl(ep, unix.EPOLL_CTL_MOD, fd, events, generation)
}

func rawEpollControl(ep, what, fd int, events uint32, generation uint32) syscall.Errno {
	ev := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: int32(generation)}
	_, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(ep), uintptr(what), uintptr(fd),
		uintptr(unsafe.Pointer(&ev)), 0, 0)
	return e
}

// sockaddr is an address as the kernel reads it, of either family.
type sockaddr struct {
	raw  unix.RawSockaddrInet6 // large enough for both; an IPv4 address uses its first 16 bytes
	size uint32
}

func newSockaddr(a netip.AddrPort) sockaddr {
	var s sockaddr
	ip := a.Addr().Unmap()
	port := a.Port()<<8 | a.Port()>>8
	if ip.Is4() {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw))
		v4.Family, v4.Port, v4.Addr = unix.AF_INET, port, ip.As4()
		s.size = unix.SizeofSockaddrInet4
		return s
	}
	s.raw.Family, s.raw.Port, s.raw.Addr = unix.AF_INET6, port, ip.As16()
	s.size = unix.SizeofSockaddrInet6
	return s
}

func (s *sockaddr) addrPort() netip.AddrPort {
	port := s.raw.Port<<8 | s.raw.Port>>8
	if s.raw.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw)).Addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(s.raw.Addr).Unmap(), port)
}

func (s *sockaddr) family() int { return int(s.raw.Family) }

func rawBind(fd int, a *sockaddr) syscall.Errno {
	_, _, e := syscall.RawSyscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&a.raw)), uintptr(a.size))
	return e
}
