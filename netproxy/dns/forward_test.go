package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
)

// resolver answers every A question by UDP with an address of its own, once release is closed.
func resolver(t *testing.T, own string, release <-chan struct{}) (netip.AddrPort, *asked) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var seen asked
	handler := mdns.HandlerFunc(func(w mdns.ResponseWriter, r *mdns.Msg) {
		seen.add(r.Question[0].Name)
		<-release
		m := new(mdns.Msg).SetReply(r)
		m.Answer = []mdns.RR{&mdns.A{Hdr: mdns.RR_Header{Name: r.Question[0].Name, Rrtype: mdns.TypeA, Class: mdns.ClassINET, Ttl: 60}, A: net.ParseIP(own)}}
		_ = w.WriteMsg(m)
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx, &mdns.Server{PacketConn: conn, Handler: handler}) }()
	t.Cleanup(func() { cancel(); <-done })
	return conn.LocalAddr().(*net.UDPAddr).AddrPort(), &seen
}

type asked struct {
	mu    sync.Mutex
	names []string
}

func (a *asked) add(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.names = append(a.names, name)
}

func (a *asked) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.names)
}

// atOnce lets a resolver answer without waiting.
func atOnce() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func TestStubDomains(t *testing.T) {
	now := atOnce()
	usual, _ := resolver(t, "192.0.2.1", now)
	corp, _ := resolver(t, "192.0.2.2", now)
	deep, _ := resolver(t, "192.0.2.3", now)
	s := serveAs(t, Config{Upstreams: []netip.AddrPort{usual}, Stubs: Stubs{"corp.example.": {corp}, "deep.corp.example.": {deep}}})
	for name, want := range map[string]string{
		"www.example.": "192.0.2.1", "corp.example.": "192.0.2.2", "A.Corp.Example.": "192.0.2.2", "notcorp.example.": "192.0.2.1",
		"x.deep.corp.example.": "192.0.2.3", "deep.corp.example.": "192.0.2.3", "corp.example.org.": "192.0.2.1",
	} {
		if got := brief(ask(t, s, "udp", name, mdns.TypeA)); got != "NOERROR: "+want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if got := brief(ask(t, s, "udp", "web.default.svc.cluster.local.", mdns.TypeA)); got != "NOERROR: 10.96.0.10" {
		t.Error(got)
	}
}

func TestParseStubs(t *testing.T) {
	got, err := ParseStubs([]string{"Corp.example=10.0.0.53", "corp.example.=10.0.0.54:5353", "10.in-addr.arpa=fd00::1", "v6.example=[fd00::1]:54"})
	want := Stubs{
		"corp.example.":    {netip.MustParseAddrPort("10.0.0.53:53"), netip.MustParseAddrPort("10.0.0.54:5353")},
		"10.in-addr.arpa.": {netip.MustParseAddrPort("[fd00::1]:53")}, "v6.example.": {netip.MustParseAddrPort("[fd00::1]:54")},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "corp.example", "=10.0.0.53", "corp.example=", "corp.example=resolver", "a..b=10.0.0.53", "corp.example=10.0.0.53:x"} {
		if got, err := ParseStubs([]string{bad}); err == nil {
			t.Errorf("%q is read as %v", bad, got)
		}
	}
}

// Many clients that ask for one name at once make one question.
func TestEqualQuestionsAreAskedOnce(t *testing.T) {
	release := make(chan struct{})
	up, seen := resolver(t, "192.0.2.1", release)
	f := newForwarder([]netip.AddrPort{up}, nil, netip.AddrPort{})
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			m, err := f.ask(context.Background(), question{name: "www.example.", kind: mdns.TypeA})
			if err != nil || len(m.Answer) != 1 {
				t.Errorf("%v, %v", m, err)
				return
			}
			m.Answer[0].Header().Name = "mine" // as restoreCase does
		})
	}
	close(release)
	group.Wait()
	if n := seen.count(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// Invariant 111. While as many questions as may wait for an upstream do, others fail at once, and the cluster's own names have answers.
func TestSilentUpstreamHoldsNothingElseUp(t *testing.T) {
	release := make(chan struct{})
	up, _ := resolver(t, "192.0.2.1", release)
	s := serve(t, up)
	defer close(release)
	for range waitingMax {
		s.slots <- struct{}{}
	}
	defer func() {
		for range waitingMax {
			<-s.slots
		}
	}()
	if got := brief(ask(t, s, "udp", "www.example.", mdns.TypeA)); got != "SERVFAIL: " {
		t.Error(got)
	}
	if got := brief(ask(t, s, "udp", "db.data.svc.cluster.local.", mdns.TypeA)); got != "NOERROR: 10.20.0.2, 10.20.0.3" {
		t.Error(got)
	}
}

func TestFailedUpstreamsAreAskedLast(t *testing.T) {
	addr := func(n int) netip.AddrPort { return netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:53", n)) }
	list := newUpstreams([]netip.AddrPort{addr(1), addr(2), addr(3)}, addr(9))
	now := time.Now()
	list[0].failed.Store(now.UnixNano())
	order := func(at time.Time) (out []int) {
		for _, u := range inOrder(list, at) {
			for i := range list {
				if list[i] == u {
					out = append(out, i)
				}
			}
		}
		return out
	}
	if got := order(now.Add(time.Second)); !reflect.DeepEqual(got, []int{1, 2, 0}) {
		t.Error(got)
	}
	if got := order(now.Add(failedFor)); !reflect.DeepEqual(got, []int{0, 1, 2}) {
		t.Error(got)
	}
	if got := newUpstreams([]netip.AddrPort{addr(1), addr(9)}, addr(9)); len(got) != 1 {
		t.Error("it would ask itself")
	}
}

// The node's own search list comes after the cluster's and before the name itself, as in a pod's resolv.conf.
func TestSearchListOfTheNode(t *testing.T) {
	up, seen := resolver(t, "192.0.2.1", atOnce())
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("search Corp.example .\nnameserver 192.0.2.9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serveAs(t, Config{Upstreams: []netip.AddrPort{up}, Resolv: file})
	const name = "www.intern.default.svc.cluster.local."
	if got := brief(ask(t, s, "udp", name, mdns.TypeA)); got != "NOERROR: 192.0.2.1, www.intern.corp.example." {
		t.Error(got, seen.names)
	}
	s.SetClients(map[netip.Addr]string{netip.MustParseAddr("127.0.0.1"): "data"})
	if got := brief(ask(t, s, "udp", name, mdns.TypeA)); got != "NXDOMAIN: " {
		t.Error(got)
	}
	if got := brief(ask(t, s, "udp", "www.intern.data.svc.cluster.local.", mdns.TypeA)); got != "NOERROR: 192.0.2.1, www.intern.corp.example." {
		t.Error(got)
	}
}

func TestUnknownVersionOfEDNS(t *testing.T) {
	s := serve(t)
	m := new(mdns.Msg).SetQuestion("web.default.svc.cluster.local.", mdns.TypeA).SetEdns0(1232, false)
	m.IsEdns0().SetVersion(1)
	for _, network := range []string{"udp", "tcp"} {
		r, _, err := (&mdns.Client{Net: network}).Exchange(m, s.Addr().String())
		if err != nil || r.Rcode != mdns.RcodeBadVers {
			t.Errorf("%s: %v, %v", network, r, err)
		}
	}
}

// The cache keeps to its bounds, and drops what has expired first.
func TestCacheIsBounded(t *testing.T) {
	f := newForwarder(nil, nil, netip.AddrPort{})
	now := time.Now()
	answer := func(ttl uint32) *mdns.Msg {
		return &mdns.Msg{Answer: []mdns.RR{&mdns.A{Hdr: mdns.RR_Header{Name: "x.", Rrtype: mdns.TypeA, Class: mdns.ClassINET, Ttl: ttl}, A: net.IPv4(192, 0, 2, 1)}}}
	}
	f.remember(question{name: "kept."}, answer(60), now)
	for i := range 2 * cacheEntries {
		f.remember(question{name: fmt.Sprint(i)}, answer(1), now.Add(time.Duration(i)*time.Millisecond))
		if len(f.cache) > cacheEntries {
			t.Fatal(len(f.cache))
		}
	}
	large := answer(60)
	for len(large.Answer) < 1000 {
		large.Answer = append(large.Answer, large.Answer[0])
	}
	f.remember(question{name: "large."}, large, now)
	if f.recall(question{name: "large."}, now) != nil {
		t.Error("a large answer is kept")
	}
	m := f.recall(question{name: "kept."}, now.Add(10*time.Second))
	if m == nil || m.Answer[0].Header().Ttl != 50 {
		t.Errorf("%v", m)
	}
	if f.recall(question{name: "kept."}, now.Add(time.Minute)) != nil {
		t.Error("it outlives its TTL")
	}
}
