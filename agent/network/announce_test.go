package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/vishvananda/netlink"
)

// announcer runs one in the space until the returned function is called.
func (s *space) announcer(node string) (a *Announcer, stop func()) {
	s.t.Helper()
	s.do(func() (err error) { a, err = NewAnnouncer(addr(node), hclog.NewNullLogger()); return err })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			s.t.Error(err)
		}
	}
	return a, stop
}

// has says whether a link of the space has the address.
func (s *space) has(ip string) (netlink.Addr, bool) {
	s.t.Helper()
	list, err := s.AddrList(nil, netlink.FAMILY_V4)
	must(s.t, err)
	for _, x := range list {
		if x.IP.String() == ip {
			return x, true
		}
	}
	return netlink.Addr{}, false
}

// A neighbour that believed the address elsewhere learns where it is now, without asking.
func TestAnnouncedAddressesAreTold(t *testing.T) {
	node, client := newSpace(t), newSpace(t)
	wire(t, node, "eth0", "192.0.2.1/24", client, "eth0", "192.0.2.9/24")
	l, err := client.LinkByName("eth0")
	must(t, err)
	old, err := net.ParseMAC("02:00:00:00:00:77")
	must(t, err)
	must(t, client.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, IP: addr("192.0.2.100").AsSlice(), HardwareAddr: old, State: netlink.NUD_STALE}))
	a, stop := node.announcer("192.0.2.1")
	a.Set([]netip.Addr{addr("192.0.2.100")})
	own, err := node.LinkByName("eth0")
	must(t, err)
	eventually(t, "the neighbour learns of it", func() error {
		list, err := client.NeighList(l.Attrs().Index, netlink.FAMILY_V4)
		must(t, err)
		for _, n := range list {
			if n.IP.String() == "192.0.2.100" && n.HardwareAddr.String() == own.Attrs().HardwareAddr.String() {
				return nil
			}
		}
		return fmt.Errorf("it has %v", list)
	})
	if x, _ := node.has("192.0.2.100"); x.ValidLft < 1 || x.ValidLft > announceLifetime {
		t.Errorf("the address would outlive its agent by %d s", x.ValidLft)
	}
	a.Set([]netip.Addr{addr("192.0.2.101")})
	eventually(t, "one address in place of the other", func() error {
		_, first := node.has("192.0.2.100")
		if _, second := node.has("192.0.2.101"); first || !second {
			return fmt.Errorf("first %v, second %v", first, second)
		}
		return nil
	})
	stop()
	if _, there := node.has("192.0.2.101"); there {
		t.Error("the address outlives its agent")
	}
}

// A machine's own addresses are never made a service's, which would have them end with it.
func TestOwnAddressesAreNotAnnounced(t *testing.T) {
	node, other := newSpace(t), newSpace(t)
	wire(t, node, "eth0", "192.0.2.1/24", other, "eth0", "192.0.2.9/24")
	node.dress("lo", "192.0.2.50/32")
	a, stop := node.announcer("192.0.2.1")
	a.Set([]netip.Addr{addr("192.0.2.50"), addr("192.0.2.1"), addr("192.0.2.60")})
	eventually(t, "the address that is free comes", func() error {
		if _, there := node.has("192.0.2.60"); !there {
			return errors.New("not yet")
		}
		return nil
	})
	stop()
	for _, ip := range []string{"192.0.2.50", "192.0.2.1"} {
		if x, there := node.has(ip); !there || x.ValidLft != 0 && uint32(x.ValidLft) != 1<<32-1 {
			t.Errorf("%s: there %v, lifetime %d", ip, there, x.ValidLft)
		}
	}
}
