package netproxy

import (
	"net/netip"
	"testing"
)

// Each virtual address leads to endpoints of its own family only, and refuses while there are none.
func TestFamiliesAreKeptApart(t *testing.T) {
	const six = "[::1]:8080"
	serve(t, backendAddr(1), named("four"))
	serve(t, six, named("six"))
	p := start(t, nil)
	vip6 := netip.MustParseAddr("fd00:96::5")
	both := func(s *Service) { s.VIPs = append(s.VIPs, vip6) }
	p.Swap(table(TCP, endpoints(backendAddr(1), six), both))
	for range 10 {
		for at, want := range map[string]string{vip: "four", "[fd00:96::5]:80": "six"} {
			if got, err := ask(at); err != nil || got != want {
				t.Fatalf("%s: %q, %v", at, got, err)
			}
		}
	}
	p.Swap(table(TCP, endpoints(backendAddr(1)), both))
	if _, err := ask("[fd00:96::5]:80"); !refused(err) {
		t.Fatalf("an address without endpoints of its family: %v", err)
	}
}

// A client's own address is kept by IPv6 as by IPv4.
func TestEndpointsSeeTheClientBySix(t *testing.T) {
	const six, client = "[::1]:8080", "fd00:20::1"
	serve(t, six, whoIs)
	p := start(t, nil)
	vip6 := netip.MustParseAddr("fd00:96::5")
	for _, keep := range []bool{true, false} {
		p.Swap(table(TCP, endpoints(six), func(s *Service) { s.VIPs, s.KeepInternal = []netip.Addr{vip6}, keep }))
		if got, err := from(client, "[fd00:96::5]:80"); err != nil || (got == client) != keep {
			t.Errorf("keep=%v: the endpoint saw %q, %v", keep, got, err)
		}
	}
}
