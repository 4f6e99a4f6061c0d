package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// echo6 is echo for IPv6.
func (s *space) echo6() {
	s.t.Helper()
	var l net.Listener
	s.do(func() (err error) { l, err = net.Listen("tcp6", "[::]:80"); return err })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, c.RemoteAddr().(*net.TCPAddr).IP)
			c.Close()
		}
	}()
	s.t.Cleanup(func() { l.Close() })
}

func (s *space) ask6(ip netip.Addr) (seen string, err error) { return s.ask6Within(ip, 2*time.Second) }

func (s *space) ask6Within(ip netip.Addr, patience time.Duration) (seen string, err error) {
	err = (&home{ns: s.ns}).run(func() error {
		c, err := net.DialTimeout("tcp6", netip.AddrPortFrom(ip, 80).String(), patience)
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

// family6 is two nodes of both families on one link: two pods on the first, a third on the second.
type family6 struct {
	a, b          *space
	na            *Network
	p1, p2, p3    *space
	ip1, ip2, ip3 []netip.Addr
}

func bothFamilies(t *testing.T) *family6 {
	a, b := newSpace(t), newSpace(t)
	wire(t, a, "eth0", "192.0.2.1/24", b, "eth0", "192.0.2.2/24")
	up := func(s *space, name, ip, four, six string) *Network {
		cfg := config(t, name, ip)
		cfg.ClusterCIDR6, cfg.ServiceCIDR6 = prefix("fd00:42::/48"), prefix("fd00:43::/112")
		n := s.start(cfg, "")
		must(t, n.Setup(context.Background(), prefix(four), prefix(six)))
		return n
	}
	na, nb := up(a, "a", "192.0.2.1", "10.42.0.0/24", "fd00:42::/64"), up(b, "b", "192.0.2.2", "10.42.1.0/24", "fd00:42:0:1::/64")
	peers := []Peer{{Name: "a", NodeIP: addr("192.0.2.1"), PodCIDR: prefix("10.42.0.0/24"), PodCIDR6: prefix("fd00:42::/64")},
		{Name: "b", NodeIP: addr("192.0.2.2"), PodCIDR: prefix("10.42.1.0/24"), PodCIDR6: prefix("fd00:42:0:1::/64")}}
	na.SetPeers(peers)
	nb.SetPeers(peers)
	attach := func(n *Network, uid string) (*space, []netip.Addr) {
		s := newSpace(t)
		ips, err := n.Attach(context.Background(), uid, s.path())
		must(t, err)
		if len(ips) != 2 || !ips[0].Is4() || !ips[1].Is6() {
			t.Fatal(ips)
		}
		s.echo6()
		return s, ips
	}
	p1, ip1 := attach(na, "p1")
	p2, ip2 := attach(na, "p2")
	p3, ip3 := attach(nb, "p3")
	if ip1[1] != addr("fd00:42::2") || ip3[1] != addr("fd00:42:0:1::2") {
		t.Fatal(ip1, ip3)
	}
	return &family6{a, b, na, p1, p2, p3, ip1, ip2, ip3}
}

// TestBothFamilies: pods have addresses of both, reach each other by either on one node and across nodes, and policies hold for IPv6 too.
func TestBothFamilies(t *testing.T) {
	f := bothFamilies(t)
	a, b, na, p1, p2, p3, ip1, ip2, ip3 := f.a, f.b, f.na, f.p1, f.p2, f.p3, f.ip1, f.ip2, f.ip3
	eventually(t, "every pod is reached by every other", func() error {
		for _, c := range []struct {
			from *space
			to   netip.Addr
			see  string
		}{{p1, ip2[1], ip1[1].String()}, {p1, ip3[1], ip1[1].String()}, {p3, ip2[1], ip3[1].String()}, {a, ip1[1], "fd00:42::1"}, {a, ip3[1], "fd00:42::1"}, {p2, ip3[1], ip2[1].String()}} {
			if seen, err := c.from.ask6(c.to); err != nil || seen != c.see {
				return fmt.Errorf("%s to %s saw %q: %w", c.see, c.to, seen, err)
			}
		}
		return nil
	})
	spaces := map[string]*space{"p1": p1, "p2": p2, "p3": p3, "nodeA": a, "nodeB": b}
	addrs := map[string]netip.Addr{"p1": ip1[1], "p2": ip2[1], "p3": ip3[1]}
	everybody := AddrRange{addr("::"), addr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")}
	for _, c := range []struct {
		name string
		f    Filter
		want string
	}{
		{"by the first address only", Filter{Ingress: isolated{ip1[0]: nothing}}, "p2>p1 p3>p1"},
		{"from nobody", Filter{Ingress: isolated{ip1[1]: nothing}}, "p2>p1- p3>p1- p1>p2 p1>p3 p3>p2 nodeA>p1 nodeB>p1-"},
		{"to nobody", Filter{Egress: isolated{ip1[1]: nothing}}, "p1>p2- p1>p3- p2>p1 p3>p1"},
		{"from a pod of this node", Filter{Ingress: isolated{ip1[1]: {only(ip2...)}}}, "p2>p1 p3>p1-"},
		{"from a pod of another", Filter{Ingress: isolated{ip1[1]: {only(ip3...)}}}, "p2>p1- p3>p1"},
		{"from a pod by its first address", Filter{Ingress: isolated{ip1[1]: {only(ip3[0])}}}, "p3>p1-"},
		{"to a pod", Filter{Egress: isolated{ip1[1]: {only(ip3...)}}}, "p1>p2- p1>p3"},
		{"from a block", Filter{Ingress: isolated{ip1[1]: {{Peers: []AddrRange{{addr("0.0.0.0"), addr("255.255.255.255")}, {addr("fd00:42:0:1::"), addr("fd00:42:0:1::ff")}}, AnyPort: true}}}}, "p2>p1- p3>p1"},
		{"from everywhere", Filter{Ingress: isolated{ip1[1]: {{Peers: []AddrRange{everybody}, Ports: http80}}}}, "p2>p1 p3>p1"},
		{"from anybody", Filter{Ingress: isolated{ip1[1]: {{AnyPeer: true, Ports: http80}}}}, "p2>p1 p3>p1"},
		{"at another port", Filter{Ingress: isolated{ip1[1]: {{AnyPeer: true, Ports: []PortRange{{6, 81, 90}, {17, 0, 65535}}}}}}, "p2>p1- p3>p1-"},
		{"from a node that is trusted", Filter{Ingress: isolated{ip1[1]: nothing}, Trusted: []netip.Addr{addr("10.42.1.1"), addr("fd00:42:0:1::1")}}, "nodeB>p1 p3>p1-"},
	} {
		na.mustFilter(t, c.f)
		for _, w := range strings.Fields(c.want) {
			from, to, _ := strings.Cut(strings.TrimSuffix(w, "-"), ">")
			denied, patience := strings.HasSuffix(w, "-"), 10*time.Second
			if denied {
				patience = 300 * time.Millisecond
			}
			if _, err := spaces[from].ask6Within(addrs[to], patience); denied != (err != nil) {
				t.Errorf("%s: %s: %v", c.name, w, err)
			}
		}
	}
	must(t, na.Close(context.Background()))
	if left := a.tables(); strings.Contains(left, "peapod") {
		t.Errorf("tables left: %s", left)
	}
}
