package dns

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batch receives questions and sends their answers, many with one system call, and allocates nothing: an answer goes to the very
// address that the kernel wrote for its question. It is one goroutine's.
type batch struct {
	raw     syscall.RawConn
	clients [datagramBatch]unix.RawSockaddrInet6 // large enough for both families
	in, out datagrams
	waiting int // answers that wait to be sent
	sent    int // of them
	got     int
	fault   syscall.Errno
	// receiving and sending are made once, since a method's value is an allocation.
	receiving, sending func(fd uintptr) bool
}

// datagrams are as the kernel wants to have them for one call.
type datagrams struct {
	headers [datagramBatch]mmsghdr
	places  [datagramBatch]unix.Iovec
	bytes   [datagramBatch][udpSizeMax]byte
}

// mmsghdr is the kernel's.
type mmsghdr struct {
	unix.Msghdr
	size uint32
	_    uint32
}

func newBatch(conn *net.UDPConn) (*batch, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	b := &batch{raw: raw}
	b.receiving, b.sending = b.tryReceive, b.trySend
	for _, d := range []*datagrams{&b.in, &b.out} {
		for i := range d.headers {
			d.places[i] = unix.Iovec{Base: &d.bytes[i][0], Len: udpSizeMax}
			d.headers[i].Iov, d.headers[i].Iovlen = &d.places[i], 1
		}
	}
	return b, nil
}

// receive waits for questions and returns how many there are.
func (b *batch) receive() (int, error) {
	for i := range b.in.headers {
		b.in.headers[i].Name, b.in.headers[i].Namelen = (*byte)(unsafe.Pointer(&b.clients[i])), unix.SizeofSockaddrInet6
	}
	b.waiting = 0
	if err := b.raw.Read(b.receiving); err != nil {
		return 0, err
	}
	if b.fault != 0 {
		return 0, os.NewSyscallError("recvmmsg", b.fault)
	}
	return b.got, nil
}

func (b *batch) tryReceive(fd uintptr) bool {
	return b.call(unix.SYS_RECVMMSG, fd, b.in.headers[:])
}

// call makes a call that does not wait, so it goes to the kernel without telling Go's scheduler. It is false if it would have to wait.
func (b *batch) call(number, fd uintptr, headers []mmsghdr) (done bool) {
	for {
		n, _, e := syscall.RawSyscall6(number, fd, uintptr(unsafe.Pointer(&headers[0])), uintptr(len(headers)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		if e == syscall.EINTR {
			continue
		}
		b.got, b.fault = int(n), e
		if e != 0 {
			b.got = 0
		}
		return e != syscall.EAGAIN
	}
}

// question is one of the received, until the next receive.
func (b *batch) question(i int) []byte { return b.in.bytes[i][:b.in.headers[i].size] }

// client is who asked question i.
func (b *batch) client(i int) netip.AddrPort {
	c := &b.clients[i]
	port := c.Port<<8 | c.Port>>8 // as on the wire, on a machine with the small end first
	if c.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(c)).Addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(c.Addr).Unmap(), port)
}

// room is where the next answer can be written.
func (b *batch) room() []byte { return b.out.bytes[b.waiting][:0] }

// reply has an answer to question i sent with the others. It must not be empty, nor change before that.
func (b *batch) reply(i int, answer []byte) {
	h := &b.out.headers[b.waiting]
	h.Name, h.Namelen = b.in.headers[i].Name, b.in.headers[i].Namelen
	b.out.places[b.waiting] = unix.Iovec{Base: &answer[0], Len: uint64(len(answer))}
	b.waiting++
}

// send sends the replies. Those that the kernel does not take are left out, and the last fault of one is returned.
func (b *batch) send() (fault error) {
	for b.sent = 0; b.sent < b.waiting; {
		if err := b.raw.Write(b.sending); err != nil {
			return err
		}
		b.sent += b.got
		if b.fault != 0 {
			fault = os.NewSyscallError("sendmmsg", b.fault)
			b.sent++
		}
	}
	return fault
}

func (b *batch) trySend(fd uintptr) bool {
	return b.call(unix.SYS_SENDMMSG, fd, b.out.headers[b.sent:b.waiting])
}
