package netproxy

import (
	"fmt"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// listenKey is one address to listen on. The scope follows from whether it is a virtual or a node address.
type listenKey struct {
	addr     netip.AddrPort
	protocol Protocol
	scope    scope
}

func (k listenKey) String() string {
	if k.protocol == UDP {
		return "udp " + k.addr.String()
	}
	return "tcp " + k.addr.String()
}

// listener is one loop's socket for a key. The kernel spreads clients over the sockets of the key.
type listener struct {
	key    listenKey
	target *target
	fd     int

	sessions map[netip.AddrPort]*session // of a UDP listener, by client
	heard    recency                     // and by when they were heard of
}

// listen opens a key's sockets for the loops that shall have one; all or none. The result has an entry
// a loop, nil for the others.
func listen(k listenKey, t *target, loops int, has func(loop int) bool) ([]*listener, error) {
	group := make([]*listener, loops)
	for i := range loops {
		if !has(i) {
			continue
		}
		fd, err := openListener(k)
		if err != nil {
			for _, ln := range group[:i] {
				if ln != nil {
					rawClose(ln.fd)
				}
			}
			return nil, fmt.Errorf("listening on %s: %w", k, err)
		}
		group[i] = &listener{key: k, target: t, fd: fd}
	}
	return group, nil
}

func openListener(k listenKey) (int, error) {
	sa := newSockaddr(k.addr)
	kind := unix.SOCK_STREAM
	if k.protocol == UDP {
		kind = unix.SOCK_DGRAM
	}
	fd, e := rawSocket(sa.family(), kind)
	if e != 0 {
		return 0, e
	}
	// An address of the service range may be bound before it is local, and one that lingers in TIME_WAIT again.
	rawSetInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	rawSetInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	rawSetInt(fd, unix.IPPROTO_IP, unix.IP_FREEBIND, 1) // governs IPv6 sockets too
	if k.protocol == UDP {
		rawSetInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, udpBufferBytes)
		rawSetInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, udpBufferBytes)
	} else {
		inheritable(fd)
		if k.scope.from() == internal { // only this machine and its pods come by a virtual address
			rawUnpace(fd)
		}
	}
	if e := rawBind(fd, &sa); e != 0 {
		rawClose(fd)
		return 0, e
	}
	if k.protocol == TCP {
		if err := unix.Listen(fd, listenBacklog); err != nil {
			rawClose(fd)
			return 0, err
		}
	}
	return fd, nil
}

// inheritable sets what accepted sockets take over from their listener, which costs a connection nothing.
func inheritable(fd int) {
	rawSetInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	rawSetInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	rawSetInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepIdleSeconds)
}

// open lets a loop watch the listener. The events are not edge-triggered: what one turn leaves is reported again.
func (ln *listener) open(l *loop) {
	if l.watch(ln.fd, ln, unix.EPOLLIN) != 0 {
		rawClose(ln.fd) // the kernel's memory or watches are used up; clients are refused
		ln.fd = -1
	}
}

func (ln *listener) close(l *loop) {
	if ln.fd < 0 {
		return
	}
	if ln.key.protocol == UDP {
		l.udp.forget(l, ln)
	}
	l.closeFd(ln.fd)
	ln.fd = -1
}

func (ln *listener) shut(l *loop) { ln.close(l) }

func (ln *listener) ready(l *loop, _ int, _ uint32) {
	if ln.key.protocol == UDP {
		l.udp.receive(l, ln)
		return
	}
	// One accept a wait is enough for a loop with little else to do, and spares the accept that finds nothing.
	for range 1 + l.batch/8 {
		var from sockaddr
		fd, e := rawAccept(ln.fd, &from)
		switch {
		case e == syscall.EMFILE || e == syscall.ENFILE:
			l.shed(ln)
			return
		case e != 0:
			return
		case !l.room(ln.target):
			ln.target.stats[l.id].refuse()
			rawAbort(fd)
			rawClose(fd)
		default:
			l.accept(ln, fd, from.addrPort().Addr())
		}
	}
}

// room says whether a port may have one more connection: it may while it has not many times more than are free.
func (l *loop) room(t *target) bool {
	s := &t.stats[l.id]
	return s.connections.Load()-s.ended.Load() < uint64(crowdShare*max(0, l.most-l.conns))
}

// shed resets one waiting client while descriptors have run out. Left in the queue it would be reported for ever.
func (l *loop) shed(ln *listener) {
	ln.target.stats[l.id].refuse()
	if l.spare >= 0 {
		rawClose(l.spare)
	}
	var from sockaddr
	if fd, e := rawAccept(ln.fd, &from); e == 0 {
		rawAbort(fd)
		rawClose(fd)
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		fd = -1
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil) // another thread took it; no use in spinning
	}
	l.spare = fd
}
