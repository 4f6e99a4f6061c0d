package network

import (
	"net/netip"
	"sort"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// family is where a header has its addresses, what sets of them hold, and how the kernel's tables call it.
type family struct {
	source, destination uint32 // offsets in the header
	length              uint32 // of an address in bytes
	next                uint32 // offset of the protocol that follows
	key                 nftables.SetDatatype
	tables              nftables.TableFamily
	routes              int
	ether               uint16 // of frames
}

var (
	ipv4 = &family{source: 12, destination: 16, length: 4, next: 9, key: nftables.TypeIPAddr,
		tables: nftables.TableFamilyIPv4, routes: unix.AF_INET, ether: unix.ETH_P_IP}
	ipv6 = &family{source: 8, destination: 24, length: 16, next: 6, key: nftables.TypeIP6Addr,
		tables: nftables.TableFamilyIPv6, routes: unix.AF_INET6, ether: unix.ETH_P_IPV6}
)

func (f *family) has(a netip.Addr) bool { return a.Is4() == (f == ipv4) }

// among are the addresses of the family.
func (f *family) among(list []netip.Addr) (out []netip.Addr) {
	for _, a := range list {
		if f.has(a) {
			out = append(out, a)
		}
	}
	return out
}

// part is that of a sorted list which is of the family. Lists that are one have parts that are one.
func (f *family) part(list []AddrRange) []AddrRange {
	first6 := sort.Search(len(list), func(i int) bool { return list[i].First.Is6() })
	if f == ipv4 {
		return list[:first6]
	}
	return list[first6:]
}

// What neighbours ask and tell one another (RFC 4861).
const (
	neighbourSolicitation  = 135
	neighbourAdvertisement = 136
)

func matchICMP6(kind byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_ICMPV6}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{kind}},
	}
}
