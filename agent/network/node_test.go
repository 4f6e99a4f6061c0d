package network

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
)

// pair is two nodes whose underlay the test has made, with a pod on each.
type pair struct {
	a, b         *space
	na, nb       *Network
	ca, cb       Config
	podA, podB   *space
	addrA, addrB netip.Addr
}

func newPair(t *testing.T, a, b *space, ipA, ipB string) *pair {
	p := &pair{a: a, b: b, ca: config(t, "a", ipA), cb: config(t, "b", ipB), podA: newSpace(t), podB: newSpace(t)}
	p.na, p.nb = a.start(p.ca, "10.42.0.0/24"), b.start(p.cb, "10.42.1.0/24")
	p.addrA, p.addrB = p.na.mustAttach(t, "pod-a", p.podA), p.nb.mustAttach(t, "pod-b", p.podB)
	p.podA.echo()
	p.podB.echo()
	peers := []Peer{{Name: "a", NodeIP: addr(ipA), PodCIDR: prefix("10.42.0.0/24")}, {Name: "b", NodeIP: addr(ipB), PodCIDR: prefix("10.42.1.0/24")}, {Name: "new"}}
	p.na.SetPeers(peers)
	p.nb.SetPeers(peers)
	return p
}

// talk asks in all directions; pods must see each other's own addresses.
func (p *pair) talk(t *testing.T) {
	t.Helper()
	for _, c := range []struct {
		from *space
		to   netip.Addr
		see  string
	}{{p.podA, p.addrB, p.addrA.String()}, {p.podB, p.addrA, p.addrB.String()}, {p.a, p.addrB, "10.42.0.1"}, {p.b, p.addrA, "10.42.1.1"}, {p.a, p.addrA, "10.42.0.1"}} {
		eventually(t, fmt.Sprintf("reaching %s", c.to), func() error {
			seen, err := c.from.ask(c.to)
			if err == nil && seen != c.see {
				t.Fatalf("%s saw %s, want %s", c.to, seen, c.see)
			}
			return err
		})
	}
}

// neighbours are two nodes on one bridge, which is in a third space.
func neighbours(t *testing.T) *pair {
	sw, a, b := newSpace(t), newSpace(t), newSpace(t)
	must(t, sw.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "sw"}}))
	sw.dress("sw", "")
	wire(t, sw, "pa", "", a, "eth0", "192.0.2.1/24")
	wire(t, sw, "pb", "", b, "eth0", "192.0.2.2/24")
	br, err := sw.LinkByName("sw")
	must(t, err)
	for _, port := range []string{"pa", "pb"} {
		l, err := sw.LinkByName(port)
		must(t, err)
		must(t, sw.LinkSetMaster(l, br))
	}
	return newPair(t, a, b, "192.0.2.1", "192.0.2.2")
}

// strangers are two nodes on different links with a router between them, that knows no pod.
func strangers(t *testing.T) *pair {
	router, a, b := newSpace(t), newSpace(t), newSpace(t)
	wire(t, router, "pa", "192.0.2.254/24", a, "eth0", "192.0.2.1/24")
	wire(t, router, "pb", "198.51.100.254/24", b, "eth0", "198.51.100.2/24")
	router.do(func() error { return writeSysctl("net/ipv4/ip_forward", "1") })
	a.defaultVia("192.0.2.254")
	b.defaultVia("198.51.100.254")
	return newPair(t, a, b, "192.0.2.1", "198.51.100.2")
}

func TestPodsReachEachOtherAcrossNodes(t *testing.T) {
	for name, underlay := range map[string]func(*testing.T) *pair{"direct": neighbours, "vxlan": strangers} {
		t.Run(name, func(t *testing.T) {
			p := underlay(t)
			p.talk(t)
			_, err := p.a.LinkByName("peapod0-vx")
			if tunnel := err == nil; tunnel != (name == "vxlan") {
				t.Fatalf("tunnel %v on the %s underlay", tunnel, name)
			}

			p.na.SetPeers([]Peer{{Name: "a", NodeIP: p.ca.NodeIP, PodCIDR: prefix("10.42.0.0/24")}})
			eventually(t, "routes of a node that is gone", func() error {
				if left := p.a.routes(); strings.Contains(left, "10.42.1.0/24") || strings.Contains(p.a.links(), "-vx") {
					return fmt.Errorf("left: %s", left)
				}
				return nil
			})
		})
	}
}

// An agent that dies leaves everything in place; its successor finds it, and the pods notice nothing.
func TestRestartKeepsConnectivity(t *testing.T) {
	p := strangers(t)
	p.talk(t)
	links := p.a.links()
	p.na.Stop()
	p.talk(t)
	p.na = p.a.start(p.ca, "10.42.0.0/24")
	must(t, p.na.syncPeers()) // before SetPeers it knows of no node, and removes none
	p.talk(t)
	if now := p.a.links(); now != links {
		t.Fatalf("links changed from\n%s to\n%s", links, now)
	}
	if again := p.na.mustAttach(t, "pod-a", p.podA); again != p.addrA {
		t.Fatalf("pod-a has %s, had %s", again, p.addrA)
	}
	if now := p.a.links(); now != links {
		t.Fatalf("attaching again changed links from\n%s to\n%s", links, now)
	}
	p.na.SetPeers([]Peer{{Name: "b", NodeIP: p.cb.NodeIP, PodCIDR: prefix("10.42.1.0/24")}})
	p.talk(t)
}

// Routes that vanish with a link come back with it.
func TestRoutesReturnWithTheLink(t *testing.T) {
	p := neighbours(t)
	p.talk(t)
	eth, err := p.a.LinkByName("eth0")
	must(t, err)
	must(t, p.a.LinkSetDown(eth))
	if _, err := p.podA.ask(p.addrB); err == nil {
		t.Fatal("reached over a cut link")
	}
	must(t, p.a.LinkSetUp(eth))
	p.talk(t)
}

func TestMasqueradeOnlyOutsideTheCluster(t *testing.T) {
	node, world, pod := newSpace(t), newSpace(t), newSpace(t)
	wire(t, node, "eth0", "192.0.2.1/24", world, "eth0", "192.0.2.9/24")
	world.echo()
	n := node.start(config(t, "a", "192.0.2.1"), "10.42.0.0/24")
	ip := n.mustAttach(t, "p", pod)
	if seen := pod.mustAsk(addr("192.0.2.9")); seen != "192.0.2.1" {
		t.Fatalf("the world saw %s", seen)
	}
	for _, inside := range []string{"10.42.7.7", "10.43.0.7"} {
		world.dress("lo", inside+"/32")
		must(t, node.RouteAdd(&netlink.Route{Dst: ipNet(prefix(inside + "/32")), Gw: addr("192.0.2.9").AsSlice()}))
		if inside == "10.42.7.7" {
			must(t, world.RouteAdd(&netlink.Route{Dst: ipNet(prefix("10.42.0.0/24")), Gw: addr("192.0.2.1").AsSlice()}))
		}
		if seen := pod.mustAsk(addr(inside)); seen != ip.String() {
			t.Fatalf("%s saw %s, want the pod's own %s", inside, seen, ip)
		}
	}
}

// TestNothingLeftAfterClose: Invariant 26.
func TestNothingLeftAfterClose(t *testing.T) {
	p := strangers(t)
	p.talk(t)
	cfg := p.ca
	must(t, p.na.Close(context.Background()))
	for _, clean := range []func() error{
		func() error { return contains(p.a.links(), "pea") },
		func() error { return contains(p.a.routes(), "10.42.") },
		func() error { return contains(p.a.tables(), tableName) },
		func() error { return contains(p.a.forwarding(), "1") },
	} {
		must(t, clean())
	}
	if left, err := os.ReadDir(cfg.StateDir); err != nil || len(left) > 0 {
		t.Fatal(left, err)
	}
	if _, err := p.na.Attach(context.Background(), "pod-a", p.podA.path()); err == nil {
		t.Fatal("attached after Close")
	}
	must(t, p.na.Close(context.Background()))

	// Close cleans up after an agent that died, too.
	p.nb.Stop()
	must(t, p.b.start(p.cb, "").Close(context.Background()))
	must(t, contains(p.b.links()+p.b.routes()+p.b.tables(), "pea"))
}

func contains(text, bad string) error {
	if strings.Contains(text, bad) {
		return fmt.Errorf("%q is left in\n%s", bad, text)
	}
	return nil
}

// Other people's links, rules, routes and forwarding stay.
// Invariant 26.
func TestStrangersAreLeftAlone(t *testing.T) {
	s := newSpace(t)
	must(t, s.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "docker0"}}))
	s.dress("docker0", "172.17.0.1/16")
	must(t, s.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "peasoup"}, PeerName: "peashell"}))
	c, err := nftables.New(nftables.WithNetNSFd(int(s.ns)))
	must(t, err)
	c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "theirs"})
	must(t, c.Flush())
	before := s.links() + s.routes() + s.tables()
	n := s.start(config(t, "a", "127.0.0.1"), "10.42.0.0/24")
	n.mustAttach(t, "p", newSpace(t))
	must(t, n.Close(context.Background()))
	if after := s.links() + s.routes() + s.tables(); after != before {
		t.Fatalf("before:\n%s\nafter:\n%s", before, after)
	}
	if s.forwarding() != "1" {
		t.Fatal("forwarding was taken from docker0")
	}
}

func TestForeignBridgeIsRefused(t *testing.T) {
	s := newSpace(t)
	must(t, s.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "peapod0"}}))
	n := s.start(config(t, "a", "127.0.0.1"), "")
	err := n.Setup(context.Background(), prefix("10.42.0.0/24"))
	if err == nil || !strings.Contains(err.Error(), "not made by Peapod") {
		t.Fatal(err)
	}
	must(t, n.Close(context.Background()))
	must(t, func() error { _, err := s.LinkByName("peapod0"); return err }())
}

// Two nodes in one namespace, each with its bridge, do not undo each other's work.
func TestTwoNodesInOneNamespace(t *testing.T) {
	s := newSpace(t)
	ca, cb := config(t, "a", "127.0.0.1"), config(t, "b", "127.0.0.1")
	cb.Bridge, cb.ClusterCIDR = "peapod1", prefix("10.44.0.0/16")
	a, b := s.start(ca, "10.42.0.0/24"), s.start(cb, "10.44.0.0/24")
	must(t, a.Close(context.Background()))
	if !strings.Contains(s.tables(), tableName) || !strings.Contains(s.links(), "peapod1") {
		t.Fatal(s.tables(), s.links())
	}
	must(t, b.Close(context.Background()))
	must(t, contains(s.tables()+s.links(), "peapod"))
}

func TestAttachIsIdempotentAndConcurrent(t *testing.T) {
	s := newSpace(t)
	n := s.start(config(t, "a", "127.0.0.1"), "10.42.0.0/24")
	const pods = 24
	spaces, got := make([]*space, pods), make([]netip.Addr, pods)
	for i := range spaces {
		spaces[i] = newSpace(t)
		spaces[i].echo()
	}
	var wg sync.WaitGroup
	for i := range spaces {
		wg.Go(func() {
			for range 2 {
				ip, err := n.Attach(context.Background(), fmt.Sprint("pod-", i), spaces[i].path())
				if err != nil || len(ip) != 1 || got[i].IsValid() && got[i] != ip[0] {
					t.Error(ip, got[i], err)
				}
				got[i] = ip[0]
			}
		})
	}
	wg.Wait()
	seen := map[netip.Addr]bool{}
	for i, ip := range got {
		if seen[ip] {
			t.Fatalf("%s is doubled", ip)
		}
		seen[ip] = true
		if from := spaces[(i+1)%pods].mustAsk(ip); from != got[(i+1)%pods].String() {
			t.Fatalf("%s saw %s", ip, from)
		}
	}
}

// A pod whose sandbox was made anew keeps its address, even while the old namespace lingers.
func TestNewSandboxSameAddress(t *testing.T) {
	s := newSpace(t)
	n := s.start(config(t, "a", "127.0.0.1"), "10.42.0.0/24")
	old, now := newSpace(t), newSpace(t)
	first := n.mustAttach(t, "p", old)
	now.echo()
	if second := n.mustAttach(t, "p", now); second != first {
		t.Fatal(first, second)
	}
	s.mustAsk(first)
}

func TestDetachAndKeep(t *testing.T) {
	s := newSpace(t)
	n := s.start(config(t, "a", "127.0.0.1"), "10.42.0.0/29")
	for i := range 5 {
		n.mustAttach(t, fmt.Sprint("p", i), newSpace(t))
	}
	if _, err := n.Attach(context.Background(), "p5", newSpace(t).path()); err == nil || !strings.Contains(err.Error(), "10.42.0.0/29") {
		t.Fatal(err)
	}
	must(t, n.Detach(context.Background(), "p3"))
	must(t, n.Detach(context.Background(), "p3"))
	must(t, n.Detach(context.Background(), "never"))
	if ip := n.mustAttach(t, "p6", newSpace(t)); ip != addr("10.42.0.5") {
		t.Fatal(ip)
	}
	keep := map[string]bool{"p0": true}
	n.Keep(context.Background(), keep)
	if got := strings.Count(s.links(), "\npea"); got != 6 { // with the bridge
		t.Fatalf("the first Keep touched young pods: %d", got)
	}
	n.Keep(context.Background(), keep)
	if got := strings.Count(s.links(), "\npea"); got != 2 {
		t.Fatalf("%d links left", got)
	}
}

// Pods that end together lose their links together, and nobody else loses one.
func TestDetachTogether(t *testing.T) {
	s := newSpace(t)
	n := s.start(config(t, "a", "127.0.0.1"), "10.42.0.0/24")
	stays := newSpace(t)
	n.mustAttach(t, "stays", stays)
	before := s.links()
	for range 3 {
		var g errgroup.Group
		for i := range 20 {
			uid := fmt.Sprint("pod-", i)
			n.mustAttach(t, uid, newSpace(t))
			g.Go(func() error { return n.Detach(t.Context(), uid) })
		}
		must(t, g.Wait())
		if after := s.links(); after != before {
			t.Fatalf("links before: %s\nand after: %s", before, after)
		}
	}
	must(t, n.drops.remove(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "gone", Index: 1 << 20}}))
}

// The log may be lost while pods run: their addresses are read from the links.
func TestLostLogDoublesNoAddress(t *testing.T) {
	s := newSpace(t)
	cfg := config(t, "a", "127.0.0.1")
	n := s.start(cfg, "10.42.0.0/24")
	pod := newSpace(t)
	first := n.mustAttach(t, "p", pod)
	n.Stop()
	must(t, os.Remove(cfg.StateDir+"/addresses"))
	n = s.start(cfg, "10.42.0.0/24")
	if other := n.mustAttach(t, "q", newSpace(t)); other == first {
		t.Fatalf("%s is doubled", other)
	}
	if again := n.mustAttach(t, "p", pod); again != first {
		t.Fatal(first, again)
	}
	n.Keep(context.Background(), map[string]bool{"q": true, "p": true})
	n.Keep(context.Background(), map[string]bool{"q": true})
	if got := strings.Count(s.links(), "\npea"); got != 2 {
		t.Fatal(s.links())
	}
}

func TestAttachRefuses(t *testing.T) {
	s := newSpace(t)
	n := s.start(config(t, "a", "127.0.0.1"), "")
	if _, err := n.Attach(context.Background(), "p", newSpace(t).path()); err != ErrNoSetup {
		t.Fatal(err)
	}
	for _, bad := range []string{"10.42.0.0/31", "10.42.0.1/24", "10.99.0.0/24", "10.0.0.0/8", "fd00::/64"} {
		if n.Setup(context.Background(), prefix(bad)) == nil {
			t.Errorf("took the pod CIDR %s", bad)
		}
	}
	must(t, n.Setup(context.Background(), prefix("10.42.0.0/24")))
	for _, path := range []string{s.path(), "/proc/self/ns/none"} {
		if _, err := n.Attach(context.Background(), "p", path); err == nil {
			t.Errorf("attached %s", path)
		}
	}
	busy := newSpace(t)
	must(t, busy.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}}))
	if _, err := n.Attach(context.Background(), "p", busy.path()); err == nil || !strings.Contains(err.Error(), "not ours") {
		t.Fatal(err)
	}
}

// A changed pod CIDR moves the bridge; pods get new addresses when they are attached anew.
func TestSetupWithAnotherCIDR(t *testing.T) {
	s := newSpace(t)
	n := s.start(config(t, "a", "127.0.0.1"), "10.42.0.0/24")
	pod := newSpace(t)
	pod.echo()
	n.mustAttach(t, "p", pod)
	must(t, n.Setup(context.Background(), prefix("10.42.9.0/24")))
	if ip := n.mustAttach(t, "p", pod); !prefix("10.42.9.0/24").Contains(ip) {
		t.Fatal(ip)
	} else {
		s.mustAsk(ip)
	}
	must(t, contains(s.routes(), "10.42.0.0/24"))
}

func (s *space) links() string {
	all, err := s.LinkList()
	must(s.t, err)
	var b strings.Builder
	for _, l := range all {
		fmt.Fprintf(&b, "\n%s %d %s", l.Attrs().Name, l.Attrs().Index, l.Attrs().HardwareAddr)
	}
	return b.String()
}

func (s *space) routes() string {
	all, err := s.RouteList(nil, netlink.FAMILY_V4)
	must(s.t, err)
	var b strings.Builder
	for _, r := range all {
		fmt.Fprintf(&b, "%s %s %d\n", r.Dst, r.Gw, r.Protocol)
	}
	return b.String()
}

func (s *space) tables() string {
	c, err := nftables.New(nftables.WithNetNSFd(int(s.ns)))
	must(s.t, err)
	all, err := c.ListTables()
	must(s.t, err)
	var b strings.Builder
	for _, t := range all {
		b.WriteString(t.Name + "\n")
	}
	return b.String()
}

func (s *space) forwarding() (v string) {
	s.do(func() (err error) { v, err = readSysctl("net/ipv4/ip_forward"); return err })
	return v
}
