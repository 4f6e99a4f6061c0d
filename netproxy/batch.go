package netproxy

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// message is the kernel's mmsghdr.
type message struct {
	head unix.Msghdr
	size uint32
	_    uint32
}

// batch receives and sends many datagrams with one call and no allocation. Its buffers lie outside Go's heap: each can
// take the largest datagram, yet only the pages that were written to are ever real.
type batch struct {
	messages [datagramBatch]message
	vectors  [datagramBatch]unix.Iovec
	from     [datagramBatch]sockaddr
	memory   []byte
}

// newBatch returns nil if the kernel has no memory left.
func newBatch() *batch {
	memory, err := unix.Mmap(-1, 0, datagramBatch*datagramBytes, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil
	}
	b := &batch{memory: memory}
	for i := range b.messages {
		b.vectors[i].Base = &memory[i*datagramBytes]
		b.messages[i].head.Iov = &b.vectors[i]
		b.messages[i].head.Iovlen = 1
	}
	return b
}

func (b *batch) release() { _ = unix.Munmap(b.memory) }

// receive reads datagrams and their senders and returns how many.
func (b *batch) receive(fd int) (int, syscall.Errno) {
	for i := range b.messages {
		b.vectors[i].Len = datagramBytes
		b.from[i] = sockaddr{}
		b.messages[i].head.Name = (*byte)(unsafe.Pointer(&b.from[i].raw))
		b.messages[i].head.Namelen = uint32(unsafe.Sizeof(b.from[i].raw))
	}
	n, _, e := syscall.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.messages[0])), datagramBatch,
		unix.MSG_DONTWAIT, 0, 0)
	if e != 0 {
		return 0, e
	}
	for i := range int(n) {
		b.from[i].size = b.messages[i].head.Namelen
		b.vectors[i].Len = uint64(b.messages[i].size)
	}
	return int(n), 0
}

// send sends the received datagrams from first up to last, to an address or, without one, where the socket is connected
// to. It returns the bytes that were sent, and the error that kept the rest.
func (b *batch) send(fd, first, last int, to *sockaddr) (size int, e syscall.Errno) {
	for i := first; i < last; i++ {
		head := &b.messages[i].head
		head.Name, head.Namelen = nil, 0
		if to != nil {
			head.Name, head.Namelen = (*byte)(unsafe.Pointer(&to.raw)), to.size
		}
	}
	for first < last {
		n, _, e := syscall.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.messages[first])),
			uintptr(last-first), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		if e == syscall.EINTR {
			continue
		}
		if e != 0 {
			return size, e
		}
		for i := first; i < first+int(n); i++ {
			size += int(b.vectors[i].Len)
		}
		first += int(n)
	}
	return size, 0
}
