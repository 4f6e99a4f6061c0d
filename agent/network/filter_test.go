package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
)

var (
	http80  = []PortRange{{Protocol: 6, First: 80, Last: 80}}
	nothing = []Allow{}
)

func only(p ...netip.Addr) Allow { return Allow{Peers: ranges(p), Ports: http80} }

func (n *Network) mustFilter(t *testing.T, f Filter) {
	t.Helper()
	must(t, n.SetFilter(&f))
}

type isolated = map[netip.Addr][]Allow

// reach asks in the order of the words "a>b" and "a>b-"; the latter must not get through.
func reach(t *testing.T, spaces map[string]*space, addrs map[string]netip.Addr, words string) {
	t.Helper()
	for _, w := range strings.Fields(words) {
		from, to, _ := strings.Cut(strings.TrimSuffix(w, "-"), ">")
		_, err := spaces[from].ask(addrs[to])
		if denied := strings.HasSuffix(w, "-"); denied != (err != nil) {
			t.Errorf("%s: %v", w, err)
		}
	}
}

// Pods of one node are held apart on the bridge, in either direction; the node itself reaches them always.
func TestFilterOnOneNode(t *testing.T) {
	node, a, b := newSpace(t), newSpace(t), newSpace(t)
	n := node.start(config(t, "a", "127.0.0.1"), "10.42.0.0/24")
	addrs := map[string]netip.Addr{"a": n.mustAttach(t, "a", a), "b": n.mustAttach(t, "b", b)}
	spaces := map[string]*space{"node": node, "a": a, "b": b}
	a.echo()
	b.echo()
	for _, c := range []struct {
		f    Filter
		want string
	}{
		{Filter{}, "a>b b>a node>a node>b"},
		{Filter{Ingress: isolated{addrs["b"]: nothing}}, "a>b- b>a node>b"},
		{Filter{Egress: isolated{addrs["a"]: nothing}}, "a>b- b>a node>a"},
		{Filter{Ingress: isolated{addrs["b"]: {only(addrs["a"])}}, Egress: isolated{addrs["a"]: {only(addrs["b"])}}}, "a>b b>a"},
		{Filter{Ingress: isolated{addrs["b"]: {only(addrs["a"])}, addrs["a"]: {only(addrs["a"])}}}, "a>b b>a-"},
		{Filter{Ingress: isolated{addrs["b"]: {{AnyPeer: true, Ports: []PortRange{{6, 81, 65535}, {17, 0, 65535}}}}}}, "a>b-"},
		{Filter{Ingress: isolated{addrs["b"]: {{AnyPeer: true, Ports: []PortRange{{6, 0, 65535}}}}}}, "a>b"},
		{Filter{Ingress: isolated{addrs["b"]: {{AnyPort: true, Peers: []AddrRange{{addr("0.0.0.0"), addr("255.255.255.255")}}}}}}, "a>b"},
		{Filter{}, "a>b b>a"},
	} {
		n.mustFilter(t, c.f)
		t.Log(c.f)
		reach(t, spaces, addrs, c.want)
	}
	if left := node.tables(); strings.Contains(left, "policy") {
		t.Errorf("tables left without a policy: %s", left)
	}
	n.mustFilter(t, Filter{Ingress: isolated{addrs["b"]: nothing}})
	must(t, n.Close(context.Background()))
	if left := node.tables(); left != "" {
		t.Errorf("tables left: %s", left)
	}
}

// Between nodes each holds its own pods to the rules, and lets in whom it trusts.
func TestFilterAcrossNodes(t *testing.T) {
	p := neighbours(t)
	p.talk(t)
	spaces := map[string]*space{"a": p.podA, "b": p.podB, "nodeA": p.a, "nodeB": p.b}
	addrs := map[string]netip.Addr{"a": p.addrA, "b": p.addrB}
	p.nb.mustFilter(t, Filter{Ingress: isolated{p.addrB: nothing}})
	reach(t, spaces, addrs, "a>b- b>a nodeA>b- nodeB>b")
	p.nb.mustFilter(t, Filter{Ingress: isolated{p.addrB: nothing}, Trusted: []netip.Addr{addr("10.42.0.1")}})
	reach(t, spaces, addrs, "a>b- b>a nodeA>b")
	p.nb.mustFilter(t, Filter{Egress: isolated{p.addrB: nothing}, Ingress: isolated{p.addrB: {only(p.addrA)}}})
	reach(t, spaces, addrs, "a>b b>a-")
}

// A connection that was let through goes on under rules that would not let it through.
func TestFilterSparesConnections(t *testing.T) {
	node, a, b := newSpace(t), newSpace(t), newSpace(t)
	n := node.start(config(t, "a", "127.0.0.1"), "10.42.0.0/24")
	n.mustAttach(t, "a", a)
	to := n.mustAttach(t, "b", b)
	n.mustFilter(t, Filter{Ingress: isolated{to: {{AnyPeer: true, AnyPort: true}}}})
	var l net.Listener
	b.do(func() (err error) { l, err = net.Listen("tcp4", "0.0.0.0:80"); return err })
	defer l.Close()
	var c net.Conn
	a.do(func() (err error) {
		c, err = net.DialTimeout("tcp4", netip.AddrPortFrom(to, 80).String(), 2*time.Second)
		return err
	})
	defer c.Close()
	s, err := l.Accept()
	must(t, err)
	defer s.Close()
	n.mustFilter(t, Filter{Ingress: isolated{to: nothing}})
	for _, end := range []net.Conn{c, s} {
		must(t, end.SetDeadline(time.Now().Add(10*time.Second)))
	}
	_, err = fmt.Fprint(c, "still here")
	must(t, err)
	got := make([]byte, 10)
	if _, err := s.Read(got); err != nil || string(got) != "still here" {
		t.Errorf("read %q: %v", got, err)
	}
	if _, err := a.ask(to); err == nil {
		t.Error("a new connection got through")
	}
}

// Many peers do not fit one message, many pods that are allowed the same share a chain.
func TestFilterOfManyPeers(t *testing.T) {
	node := newSpace(t)
	n := node.start(config(t, "a", "127.0.0.1"), "10.42.0.0/24")
	var peers []netip.Addr
	for i := range 20_000 {
		peers = append(peers, netip.AddrFrom4([4]byte{10, 50 + byte(i>>15), byte(i >> 7), byte(i << 1)}))
	}
	list := []Allow{only(peers...)}
	f := Filter{Ingress: isolated{}}
	for i := range 100 {
		f.Ingress[netip.AddrFrom4([4]byte{10, 42, 0, byte(i + 2)})] = list
	}
	n.mustFilter(t, f)
	c, err := nftables.New(nftables.WithNetNSFd(int(node.ns)))
	must(t, err)
	table := n.filterTable()
	sets, err := c.GetSets(table)
	must(t, err)
	total := 0
	for _, s := range sets {
		elements, err := c.GetSetElements(s)
		must(t, err)
		total += len(elements)
	}
	if len(sets) != 2 || total < 2*len(peers) {
		t.Errorf("%d sets with %d elements", len(sets), total)
	}
}
