package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// pretend asks the echo at ip from the space, from an address that is another's.
func (s *space) pretend(from, ip netip.Addr) (string, error) {
	var seen string
	d := net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.TCPAddr{IP: from.AsSlice()}, Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		_ = c.Control(func(fd uintptr) {
			if from.Is6() {
				err = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1)
			} else {
				err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TRANSPARENT, 1)
			}
		})
		return err
	}}
	err := (&home{ns: s.ns}).run(func() error {
		c, err := d.Dial("tcp", netip.AddrPortFrom(ip, 80).String())
		if err != nil {
			return err
		}
		defer c.Close()
		b := make([]byte, 64)
		k, err := c.Read(b)
		seen = string(b[:k])
		return err
	})
	return seen, err
}

// TestAnswersComeBack: the node connects to pods from addresses of others, of a pod beside them, of one elsewhere and of somebody outside.
func TestAnswersComeBack(t *testing.T) {
	p := neighbours(t)
	p.talk(t)
	more := newSpace(t)
	addrMore := p.na.mustAttach(t, "more", more)
	more.echo()
	outside := addr("198.51.100.7")
	p.a.defaultVia("192.0.2.2") // an answer needs to have some way
	for _, on := range []bool{false, true, false} {
		must(t, p.na.KeepSources(on, []netip.Addr{p.addrA}))
		for _, c := range []struct {
			who      string
			from, to netip.Addr
		}{{"outside", outside, p.addrA}, {"a pod of this node", addrMore, p.addrA}, {"a pod of this node, elsewhere", p.addrA, p.addrB}} {
			seen, err := p.a.pretend(c.from, c.to)
			if good := err == nil && seen == c.from.String(); good != on {
				t.Errorf("on=%v: from %s the pod saw %q, %v", on, c.who, seen, err)
			}
		}
		// What pods and node are to each other otherwise does not change.
		for _, s := range []*space{p.a, p.podA, more} {
			for _, to := range []netip.Addr{p.addrA, addrMore, p.addrB} {
				if _, err := s.ask(to); err != nil {
					t.Errorf("on=%v: %v", on, err)
				}
			}
		}
		if seen := more.mustAsk(p.addrA); seen != addrMore.String() {
			t.Errorf("a pod saw %s", seen)
		}
	}
	must(t, p.na.KeepSources(true, nil))
	must(t, p.na.Close(context.Background()))
	rules, err := p.a.RuleList(unix.AF_INET)
	must(t, err)
	if text := fmt.Sprint(rules) + p.a.tables(); strings.Contains(text, "source") || len(rules) != 3 {
		t.Errorf("left over: %s", text)
	}
}

// TestSourcesBesideFilter: isolated pods are reached from their clients' addresses too, once the bridge hands what it carries to the IP filters.
func TestSourcesBesideFilter(t *testing.T) {
	node, a, b := newSpace(t), newSpace(t), newSpace(t)
	n := node.start(config(t, "a", "127.0.0.1"), "10.42.0.0/24")
	addrA, addrB := n.mustAttach(t, "a", a), n.mustAttach(t, "b", b)
	a.echo()
	must(t, n.KeepSources(true, []netip.Addr{addrA}))
	n.mustFilter(t, Filter{Ingress: isolated{addrA: nothing}})
	if seen, err := node.pretend(addrB, addrA); err != nil || seen != addrB.String() {
		t.Errorf("the pod saw %q, %v", seen, err)
	}
	if _, err := b.ask(addrA); err == nil {
		t.Error("the isolated pod was reached")
	}
}

// TestKeepsSource: a client's address is kept only where the answer to it comes by this node.
func TestKeepsSource(t *testing.T) {
	n := &Network{cfg: Config{NodeIP: netip.MustParseAddr("192.0.2.1"), ClusterCIDR: netip.MustParsePrefix("10.42.0.0/16"),
		ClusterCIDR6: netip.MustParsePrefix("fd00:42::/48"), ServiceCIDR6: netip.MustParsePrefix("fd00:43::/112")}}
	here, elsewhere := netip.MustParseAddr("10.42.1.7"), netip.MustParseAddr("10.42.2.7")
	if n.KeepsSource(here, here.Next()) {
		t.Error("an address is kept before the network is there")
	}
	n.ground.Store(&ground{cidr: netip.MustParsePrefix("10.42.1.0/24"), cidr6: netip.MustParsePrefix("fd00:42:0:1::/64")})
	for _, c := range []struct {
		name             string
		client, endpoint netip.Addr
		want             bool
	}{
		{"two pods of this node", here, here.Next(), true},
		{"a pod of this node, elsewhere", here, elsewhere, true},
		{"this node, elsewhere", n.cfg.NodeIP, elsewhere, true},
		{"a client outside, here", netip.MustParseAddr("203.0.113.1"), here, true},
		{"a client outside, elsewhere", netip.MustParseAddr("203.0.113.1"), elsewhere, false},
		{"another node's pod, elsewhere", elsewhere, elsewhere.Next(), false},
		{"a pod of this node, on another node's own network", here, netip.MustParseAddr("192.0.2.2"), false},
		{"a client outside, on this node's own network", netip.MustParseAddr("203.0.113.1"), n.cfg.NodeIP, false},
		{"by IPv6, a pod of this node, elsewhere", netip.MustParseAddr("fd00:42:0:1::2"), netip.MustParseAddr("fd00:42:0:2::2"), true},
		{"by IPv6, a client outside, here", netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fd00:42:0:1::2"), true},
		{"by IPv6, a client outside, elsewhere", netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fd00:42:0:2::2"), false},
		{"by IPv6, this node, here", netip.MustParseAddr("fd00:43::7"), netip.MustParseAddr("fd00:42:0:1::2"), false},
		{"by IPv6, neither is a pod", netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2"), false},
	} {
		if got := n.KeepsSource(c.client, c.endpoint); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// TestAnswersComeBackBySix is TestAnswersComeBack for IPv6, where the way between nodes is another one.
func TestAnswersComeBackBySix(t *testing.T) {
	f := bothFamilies(t)
	outside := addr("2001:db8::7")
	eth, err := f.a.LinkByName("eth0")
	must(t, err)
	must(t, f.a.RouteReplace(&netlink.Route{Dst: ipNet(prefix("2001:db8::/64")), LinkIndex: eth.Attrs().Index})) // an answer needs to have some way
	eventually(t, "a pod of the other node is reached", func() error { _, err := f.p1.ask6(f.ip3[1]); return err })
	for _, on := range []bool{true, false} {
		must(t, f.na.KeepSources(on, f.ip1))
		cases := []struct {
			who      string
			from, to netip.Addr
		}{{"outside", outside, f.ip1[1]}, {"a pod of this node, elsewhere", f.ip1[1], f.ip3[1]}, {"a pod of this node", f.ip2[1], f.ip1[1]}}
		if !on {
			cases = cases[2:] // for each takes its time to fail
		}
		for _, c := range cases {
			seen, err := f.a.pretend(c.from, c.to)
			if good := err == nil && seen == c.from.String(); good != on {
				t.Errorf("on=%v: from %s the pod saw %q, %v", on, c.who, seen, err)
			}
		}
		for _, s := range []*space{f.a, f.p1, f.p2} {
			for _, to := range []netip.Addr{f.ip1[1], f.ip2[1], f.ip3[1]} {
				if _, err := s.ask6(to); err != nil {
					t.Errorf("on=%v: %v", on, err)
				}
			}
		}
	}
	must(t, f.na.KeepSources(true, f.ip1))
	must(t, f.na.Close(context.Background()))
	rules, err := f.a.RuleList(unix.AF_INET6)
	must(t, err)
	if text := fmt.Sprint(rules) + f.a.tables(); strings.Contains(text, "source") || len(rules) != 2 {
		t.Errorf("left over: %s", text)
	}
}
