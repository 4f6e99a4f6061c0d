package netproxy

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// proxySignature begins every header of the PROXY protocol's version 2, with the command PROXY behind it.
const proxySignature = "\r\n\r\n\x00\r\nQUIT\n\x21"

// introduce sends the header that tells an endpoint who the client is and which address it asked. The socket is new, so that the header
// fits into its buffer whole.
func introduce(endpoint, client int) bool {
	from, err := unix.Getpeername(client)
	if err != nil {
		return false
	}
	at, err := unix.Getsockname(client)
	if err != nil {
		return false
	}
	h := proxyHeader(addrPortOf(from), addrPortOf(at))
	n, e := rawSend(endpoint, h, 0)
	return e == 0 && n == len(h)
}

func addrPortOf(s unix.Sockaddr) netip.AddrPort {
	switch s := s.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(s.Addr), uint16(s.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(s.Addr), uint16(s.Port))
	}
	return netip.AddrPort{}
}

// proxyHeader is the header of a TCP connection. Both addresses are of one family.
func proxyHeader(from, at netip.AddrPort) []byte {
	family := byte(0x11)
	if from.Addr().Is6() {
		family = 0x21
	}
	addresses := append(from.Addr().AsSlice(), at.Addr().AsSlice()...)
	h := append([]byte(proxySignature), family)
	h = binary.BigEndian.AppendUint16(h, uint16(len(addresses)+4))
	h = append(h, addresses...)
	h = binary.BigEndian.AppendUint16(h, from.Port())
	return binary.BigEndian.AppendUint16(h, at.Port())
}
