package netproxy

import (
	"net/netip"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Connections in a client's name have ports above those that Linux gives to its own, so that one of theirs to the same endpoint is never
// mistaken for the client's. There are few of these ports, and each is taken for a minute after its connection's end: when the
// next one is still taken the kernel chooses among its own.
const (
	keptPortMin = 61000
	keptPorts   = 65535 - keptPortMin + 1
)

var keptPort atomic.Uint32

// keeps says whether a port's endpoint is to see the address of a client, and counts if it should but cannot.
func (t *target) keeps(loop int, sc scope, client netip.Addr, b *backend) bool {
	if !t.set.Load().keep[sc] {
		return false
	}
	if ask := t.gate.keeps.Load(); ask != nil && !(*ask)(client.Unmap(), b.addr.Addr().Unmap()) {
		t.stats[loop].unkept.Add(1)
		return false
	}
	return true
}

// connect connects a new socket to an endpoint; with keep from the client's address. Where that cannot be it is this host's: an endpoint
// that is its own client would answer itself, and a client on the loopback device cannot be answered from elsewhere.
func connect(fd, kind int, b *backend, client netip.Addr, keep bool) syscall.Errno {
	var port uint16
	if keep && kind == unix.SOCK_STREAM { // of datagrams two sessions with one port would get each other's
		port = keptPortMin + uint16(keptPort.Add(1)%keptPorts)
	}
	if keep && disguise(fd, client, b.addr.Addr(), port) {
		e := rawConnect(fd, &b.sa)
		if e != syscall.EADDRNOTAVAIL || !renew(fd, &b.sa, kind) {
			return e
		}
		disguise(fd, client, b.addr.Addr(), 0)
	}
	return rawConnect(fd, &b.sa)
}

// disguise has a socket speak from a client's address and a port; 0 is one of the kernel's choice.
func disguise(fd int, client, endpoint netip.Addr, port uint16) bool {
	client, endpoint = client.Unmap(), endpoint.Unmap()
	if client == endpoint || client.Is4() != endpoint.Is4() || client.IsLoopback() {
		return false
	}
	if client.Is4() {
		rawSetInt(fd, unix.IPPROTO_IP, unix.IP_TRANSPARENT, 1)
	} else {
		rawSetInt(fd, unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT, 1)
	}
	if port != 0 {
		rawSetInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) // it may be in use towards other endpoints
	}
	rawSetInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	at := newSockaddr(netip.AddrPortFrom(client, port))
	return rawBind(fd, &at) == 0
}

// renew puts a fresh socket in the place of one that is bound.
func renew(fd int, to *sockaddr, kind int) bool {
	fresh, e := rawSocket(to.family(), kind)
	if e != 0 {
		return false
	}
	err := unix.Dup3(fresh, fd, unix.O_CLOEXEC)
	rawClose(fresh)
	if kind == unix.SOCK_STREAM {
		rawSetInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	return err == nil
}
