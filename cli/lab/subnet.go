package lab

import (
	"fmt"
	"hash/fnv"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// place is one of the bridges and networks that a lab can have.
type place struct {
	index  int
	bridge string
	subnet netip.Prefix
}

func placeAt(index int) place {
	return place{index, fmt.Sprintf("pplab%d", index), netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 201, byte(index), 0}), 24)}
}

// subnet6 is the IPv6 network of the lab at a place.
func subnet6(index int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0, 2, 1, byte(index >> 8), byte(index)}), 64)
}

// gateway is the host's address on the lab's bridge.
func gateway(subnet netip.Prefix) netip.Addr { return hostAddress(subnet, 1) }

// hostAddress is the address with a last byte, which is the same for a node in both families.
func hostAddress(subnet netip.Prefix, last byte) netip.Addr {
	a := subnet.Addr().AsSlice()
	a[len(a)-1] = last
	out, _ := netip.AddrFromSlice(a)
	return out
}

// firstPlace is where the search for a free place begins: the same for a name every time.
func firstPlace(name string) int {
	if name == DefaultName {
		return 0
	}
	h := fnv.New32a()
	h.Write([]byte(name))
	return 1 + int(h.Sum32()%(subnets-1))
}

// freePlace finds a bridge's name and a network that nothing on this machine uses, except those in avoid.
func freePlace(name string, avoid map[int]bool) (place, error) {
	used, err := usedNetworks()
	if err != nil {
		return place{}, err
	}
	for i := range subnets {
		p := placeAt((firstPlace(name) + i) % subnets)
		if !avoid[p.index] && !linkExists(p.bridge) && !overlaps(p.subnet, used) {
			return p, nil
		}
	}
	return place{}, fmt.Errorf("no /24 of 10.201.0.0/16 is free on this machine: end a lab with 'peapod lab down --name NAME'")
}

func overlaps(p netip.Prefix, used []netip.Prefix) bool {
	for _, u := range used {
		if u.Overlaps(p) {
			return true
		}
	}
	return false
}

// usedNetworks are the networks of this machine's addresses and routes, default routes left out.
func usedNetworks() ([]netip.Prefix, error) {
	var out []netip.Prefix
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("listing this machine's addresses: %w", err)
	}
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.IPNet.String()); err == nil {
			out = append(out, p.Masked())
		}
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("listing this machine's routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		// A route for half of everything, as VPNs make, is no claim to a network of ours.
		if p, err := netip.ParsePrefix(r.Dst.String()); err == nil && p.Bits() >= 8 {
			out = append(out, p.Masked())
		}
	}
	return out, nil
}

func linkExists(name string) bool {
	_, err := netlink.LinkByName(name)
	return err == nil
}
