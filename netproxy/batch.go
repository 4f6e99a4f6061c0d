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
	train    train
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

// train is a control message that has the kernel cut one long datagram into those that it is made of (UDP_SEGMENT). The whole of
// it passes through the network stack at once, which is what most of a small datagram's way costs.
type train struct {
	head  unix.Cmsghdr
	bytes uint16 // of a wagon
	_     [6]byte
}

const trainBytes = 65_000 // at most, all wagons together

// send sends the received datagrams from first up to last, to an address or, without one, where the socket is connected
// to. It returns the bytes that were sent, and the error that kept the rest.
func (b *batch) send(fd, first, last int, to *sockaddr) (size int, e syscall.Errno) {
	for first < last {
		n := b.alike(first, last)
		coupled := n > 1
		if !coupled {
			n = b.unlike(first, last)
		}
		sent := 0
		if coupled {
			sent, e = b.sendTrain(fd, first, first+n, to)
			if e == syscall.EINVAL || e == syscall.EMSGSIZE || e == syscall.EIO { // too long for the way, or no such thing on it
				coupled = false
			}
		}
		if !coupled {
			sent, e = b.sendEach(fd, first, first+n, to)
		}
		size += sent
		if e != 0 {
			return size, e
		}
		first += n
	}
	return size, 0
}

// alike counts the datagrams that make a train: all of one size, but for the last, which may be shorter.
func (b *batch) alike(first, last int) int {
	size := b.vectors[first].Len
	if size == 0 {
		return 1
	}
	n := 1
	for total := size; first+n < last; n++ {
		next := b.vectors[first+n].Len
		if total += next; next > size || next == 0 || total > trainBytes {
			break
		}
		if next < size {
			return n + 1
		}
	}
	return n
}

// unlike counts the datagrams before the next train.
func (b *batch) unlike(first, last int) int {
	n := 1
	for first+n < last && b.alike(first+n, last) == 1 {
		n++
	}
	return n
}

func (b *batch) sendTrain(fd, first, last int, to *sockaddr) (int, syscall.Errno) {
	b.train = train{head: unix.Cmsghdr{Level: unix.IPPROTO_UDP, Type: unix.UDP_SEGMENT}, bytes: uint16(b.vectors[first].Len)}
	b.train.head.SetLen(unix.CmsgLen(2))
	head := unix.Msghdr{Iov: &b.vectors[first], Iovlen: uint64(last - first), Control: (*byte)(unsafe.Pointer(&b.train))}
	head.SetControllen(int(unsafe.Sizeof(b.train)))
	if to != nil {
		head.Name, head.Namelen = (*byte)(unsafe.Pointer(&to.raw)), to.size
	}
	for {
		n, _, e := syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&head)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if e != syscall.EINTR {
			return int(n), e
		}
	}
}

func (b *batch) sendEach(fd, first, last int, to *sockaddr) (size int, e syscall.Errno) {
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
