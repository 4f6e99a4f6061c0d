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
	list, err := s.AddrList(nil, netlink.FAMILY_ALL)
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
	t.Run("IPv4", func(t *testing.T) { testTold(t, "192.0.2.100", "192.0.2.101", netlink.FAMILY_V4) })
	t.Run("IPv6", func(t *testing.T) { testTold(t, "fd00:99::100", "fd00:99::101", netlink.FAMILY_V6) })
}

func testTold(t *testing.T, first, second string, family int) {
	node, client := newSpace(t), newSpace(t)
	wire(t, node, "eth0", "192.0.2.1/24", client, "eth0", "192.0.2.9/24")
	l, err := client.LinkByName("eth0")
	must(t, err)
	old, err := net.ParseMAC("02:00:00:00:00:77")
	must(t, err)
	must(t, client.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, IP: addr(first).AsSlice(), HardwareAddr: old, State: netlink.NUD_STALE}))
	a, stop := node.announcer("192.0.2.1")
	a.Set([]netip.Addr{addr(first)})
	own, err := node.LinkByName("eth0")
	must(t, err)
	eventually(t, "the neighbour learns of it", func() error {
		list, err := client.NeighList(l.Attrs().Index, family)
		must(t, err)
		for _, n := range list {
			if n.IP.String() == first && n.HardwareAddr.String() == own.Attrs().HardwareAddr.String() {
				return nil
			}
		}
		return fmt.Errorf("it has %v", list)
	})
	if x, _ := node.has(first); x.ValidLft < 1 || x.ValidLft > announceLifetime {
		t.Errorf("the address would outlive its agent by %d s", x.ValidLft)
	}
	node.do(func() error {
		if six, err := SecondAddress(addr("192.0.2.1")); err == nil {
			t.Errorf("a service's address is taken for the node's: %s", six)
		}
		return nil
	})
	node.dress("eth0", "fd00:99::1/64")
	node.do(func() error {
		if six, err := SecondAddress(addr("192.0.2.1")); err != nil || six != addr("fd00:99::1") {
			t.Errorf("the node's second address is %s: %v", six, err)
		}
		return nil
	})
	a.Set([]netip.Addr{addr(second)})
	eventually(t, "one address in place of the other", func() error {
		_, was := node.has(first)
		if _, is := node.has(second); was || !is {
			return fmt.Errorf("first %v, second %v", was, is)
		}
		return nil
	})
	stop()
	if _, there := node.has(second); there {
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
