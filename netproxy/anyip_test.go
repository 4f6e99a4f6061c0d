package netproxy

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// localTo says which local routes to an address there are, by their device.
func localTo(t *testing.T, ip netip.Addr) (devices []string) {
	t.Helper()
	list, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_LOCAL}, netlink.RT_FILTER_TABLE)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		if ones, bits := r.Dst.Mask.Size(); ones == bits && r.Dst.IP.Equal(ip.AsSlice()) {
			link, err := netlink.LinkByIndex(r.LinkIndex)
			if err != nil {
				t.Fatal(err)
			}
			devices = append(devices, link.Attrs().Name)
		}
	}
	return devices
}

func TestAddressesOfOtherRangesAreServed(t *testing.T) {
	serve(t, backendAddr(1), named("a"))
	p := start(t, nil)
	other := netip.MustParseAddr("192.0.2.7")
	p.Swap(table(TCP, endpoints(backendAddr(1)), func(s *Service) { s.VIPs = append(s.VIPs, other) }))
	if got, err := ask("192.0.2.7:80"); err != nil || got != "a" {
		t.Fatalf("%q, %v", got, err)
	}
	if got, err := ask(vip); err != nil || got != "a" {
		t.Fatalf("%q, %v", got, err)
	}
	p.Swap(table(TCP, endpoints(backendAddr(1))))
	if left := localTo(t, other); len(left) > 0 {
		t.Fatalf("the address is still local on %v", left)
	}
	p.Swap(table(TCP, endpoints(backendAddr(1)), func(s *Service) { s.VIPs = append(s.VIPs, other) }))
	if got, err := ask("192.0.2.7:80"); err != nil || got != "a" {
		t.Fatalf("again: %q, %v", got, err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if left := localTo(t, other); len(left) > 0 {
		t.Fatalf("after the end the address is still local on %v", left)
	}
}

// An address that this host has is left to it.
func TestHostsOwnAddressesKeepTheirRoutes(t *testing.T) {
	own := netip.MustParseAddr(nodeIP)
	before := localTo(t, own)
	if len(before) == 0 {
		t.Fatal("the node's address is not local")
	}
	o := outside{[]netip.Prefix{netip.MustParsePrefix(serviceIP)}, own, map[netip.Addr]*anyIP{}}
	if failed := o.follow(&Table{Services: []Service{{VIPs: []netip.Addr{own}}}}); len(failed) > 0 {
		t.Fatal(failed)
	}
	if err := o.clear(); err != nil {
		t.Fatal(err)
	}
	if after := localTo(t, own); len(after) != len(before) || after[0] != before[0] {
		t.Fatalf("local on %v before and on %v after", before, after)
	}
}

// A proxy that is killed leaves its routes; the next one takes them over, whatever it serves itself, and removes them when it ends.
// Invariant 192.
func TestRoutesOfAKilledProxyAreReclaimed(t *testing.T) {
	whole, left := netip.MustParsePrefix(serviceIP), netip.MustParseAddr("203.0.113.9")
	source := netip.MustParseAddr(nodeIP)
	if _, err := addAnyIP(whole, source); err != nil { // as a process that never comes to its end
		t.Fatal(err)
	}
	o := outside{[]netip.Prefix{whole}, source, map[netip.Addr]*anyIP{}}
	if failed := o.add(left); len(failed) > 0 {
		t.Fatal(failed)
	}
	p := start(t, nil)
	if at := localTo(t, left); len(at) > 0 {
		t.Errorf("an address that nobody serves is still local on %v", at)
	}
	serve(t, backendAddr(1), named("a"))
	p.Swap(table(TCP, endpoints(backendAddr(1))))
	if got, err := ask(vip); err != nil || got != "a" {
		t.Errorf("%q, %v", got, err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	mine := &netlink.Route{Protocol: routeProtocol, Table: unix.RT_TABLE_LOCAL}
	if routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, mine, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE); err != nil || len(routes) > 0 {
		t.Errorf("%d routes are left: %v, %v", len(routes), routes, err)
	}
}
