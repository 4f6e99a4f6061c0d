package netproxy

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestNoEndpointIsRefusedAtOnce(t *testing.T) {
	serve(t, backendAddr(1), named("one"))
	p := start(t, nil)
	notReady := []Endpoint{{Address: netip.MustParseAddrPort(backendAddr(1)), Node: "n1"}}
	for name, eps := range map[string][]Endpoint{"none": nil, "not ready": notReady} {
		p.Swap(table(TCP, eps))
		for _, addr := range []string{vip, nodePort} {
			if _, err := ask(addr); !refused(err) {
				t.Errorf("%s, %s: %v, want a refusal", name, addr, err)
			}
		}
	}
	p.Swap(table(TCP, endpoints(backendAddr(1))))
	if got, err := ask(vip); err != nil || got != "one" {
		t.Errorf("after an endpoint came: %q, %v", got, err)
	}
	p.Swap(&Table{NodeName: "n1", Generation: 7})
	if _, err := ask(vip); !refused(err) {
		t.Errorf("after the service went: %v", err)
	}
	if p.Generation() != 7 {
		t.Errorf("generation %d", p.Generation())
	}
}

// The client of a dead endpoint notices nothing while another lives, and a reset when none does.
func TestDeadEndpointIsRetried(t *testing.T) {
	serve(t, backendAddr(1), named("one"))
	p := start(t, func(c *Config) { c.Limits.ConnectTimeout = 50 * time.Millisecond })
	// Nobody listens on the second and third; nothing at all answers for the fourth.
	blackHole(t, "10.30.0.1")
	p.Swap(table(TCP, endpoints(backendAddr(1), backendAddr(2), backendAddr(3), "10.30.0.1:80")))
	for range 40 {
		if got, err := ask(vip); err != nil || got != "one" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if sum := p.Totals(); sum.Retries == 0 || sum.Errors != 0 {
		t.Errorf("counters %+v", sum)
	}
	p.Swap(table(TCP, endpoints(backendAddr(2), backendAddr(3))))
	if _, err := ask(vip); !reset(err) {
		t.Errorf("no endpoint answers: %v, want a reset", err)
	}
}

// A rolling update in small: endpoints leave the table while clients open connections as fast as they can, and
// stop listening as soon as Swap has returned. No request may fail.
// Invariant 50.
func TestRemovalUnderLoadLosesNothing(t *testing.T) {
	p := start(t, nil)
	stops := map[int]func(){}
	for i := 1; i <= 3; i++ {
		stops[i] = serve(t, backendAddr(i), named(fmt.Sprint(i)))
	}
	p.Swap(table(TCP, endpoints(backendAddr(1), backendAddr(2), backendAddr(3))))
	var asked atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := ask(vip); err != nil {
					t.Errorf("a request failed: %v", err)
					return
				}
				asked.Add(1)
			}
		})
	}
	for round := range 12 {
		before := asked.Load()
		eventually(t, "requests", func() bool { return asked.Load() > before+50 || t.Failed() })
		gone := 1 + round%3
		p.Swap(table(TCP, endpoints(without(gone)...)))
		stops[gone]() // stands for the pod that gets its TERM now
		before = asked.Load()
		eventually(t, "requests", func() bool { return asked.Load() > before+50 || t.Failed() })
		stops[gone] = serve(t, backendAddr(gone), named(fmt.Sprint(gone)))
		p.Swap(table(TCP, endpoints(backendAddr(1), backendAddr(2), backendAddr(3))))
	}
	close(stop)
	clients.Wait()
	if sum := p.Totals(); sum.Retries != 0 {
		t.Errorf("%d dials went to an endpoint that was gone", sum.Retries)
	}
}

func without(gone int) (addrs []string) {
	for i := 1; i <= 3; i++ {
		if i != gone {
			addrs = append(addrs, backendAddr(i))
		}
	}
	return addrs
}

// Established connections outlive their endpoint's place in the table and even the service.
func TestEstablishedConnectionsDrain(t *testing.T) {
	serve(t, backendAddr(1), named("one"))
	serve(t, backendAddr(2), named("two"))
	p := start(t, nil)
	p.Swap(table(TCP, endpoints(backendAddr(1))))
	c := dial(t, vip)
	if got, err := askOn(c); err != nil || got != "one" {
		t.Fatal(got, err)
	}
	for _, next := range []*Table{table(TCP, endpoints(backendAddr(2))), {NodeName: "n1"}} {
		p.Swap(next)
		if got, err := askOn(c); err != nil || got != "one" {
			t.Fatal(got, err)
		}
	}
	sum := p.Totals()
	if sum.Active != 1 {
		t.Errorf("active %d, want the draining one", sum.Active)
	}
}

// A dial that hangs on an endpoint is redirected when the endpoint leaves the table.
// Invariant 50.
func TestSwapRedirectsDials(t *testing.T) {
	serve(t, backendAddr(1), named("one"))
	blackHole(t, "10.30.0.2")
	p := start(t, func(c *Config) { c.Limits.ConnectPatience = time.Hour })
	p.Swap(table(TCP, endpoints("10.30.0.2:80")))
	c := dial(t, vip)
	eventually(t, "the dial", func() bool { sum := p.Totals(); return sum.Active == 1 })
	p.Swap(table(TCP, endpoints(backendAddr(1))))
	if got, err := askOn(c); err != nil || got != "one" {
		t.Fatal(got, err)
	}
}

func TestAffinity(t *testing.T) {
	for i := 1; i <= 4; i++ {
		serve(t, backendAddr(i), named(fmt.Sprint(i)))
	}
	all := endpoints(backendAddr(1), backendAddr(2), backendAddr(3), backendAddr(4))
	sticky := func(s *Service) { s.AffinityTimeout = time.Hour }
	p := start(t, nil)
	p.Swap(table(TCP, all, sticky))
	first, err := ask(vip)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if got, err := ask(vip); err != nil || got != first {
			t.Fatalf("%q, %v, want %s", got, err, first)
		}
	}
	var rest []Endpoint
	for i, e := range all {
		if fmt.Sprint(i+1) != first {
			rest = append(rest, e)
		}
	}
	p.Swap(table(TCP, rest, sticky))
	second, err := ask(vip)
	if err != nil || second == first {
		t.Fatalf("%q, %v: the endpoint is gone", second, err)
	}
	p.Swap(table(TCP, all))
	seen := map[string]bool{}
	eventually(t, "without affinity every endpoint has its turn", func() bool {
		got, err := ask(vip)
		seen[got] = err == nil
		return len(seen) == 4
	})
}

func TestLocalPolicies(t *testing.T) {
	serve(t, backendAddr(1), named("here"))
	serve(t, backendAddr(2), named("there"))
	eps := endpoints(backendAddr(1), backendAddr(2))
	eps[1].Node = "n2"
	p := start(t, nil)
	p.Swap(table(TCP, eps, func(s *Service) { s.InternalLocal, s.ExternalLocal = true, true }))
	for range 20 {
		for _, addr := range []string{vip, nodePort} {
			if got, err := ask(addr); err != nil || got != "here" {
				t.Fatal(addr, got, err)
			}
		}
	}
	p.Swap(table(TCP, eps[1:], func(s *Service) { s.ExternalLocal = true }))
	if _, err := ask(nodePort); !refused(err) {
		t.Errorf("node port without a local endpoint: %v", err)
	}
	if got, err := ask(vip); err != nil || got != "there" {
		t.Error(got, err)
	}
}

// A client gets only endpoints that it may be connected to, whatever was chosen before; without one it gets none.
func TestClientsGetOnlyWhatTheyAreAllowed(t *testing.T) {
	serve(t, backendAddr(1), named("one"))
	serve(t, backendAddr(2), named("two"))
	var only atomic.Pointer[string]
	allow := func(client netip.Addr, to netip.AddrPort, p Protocol) bool {
		return p == TCP && client.IsValid() && to.String() == *only.Load()
	}
	for _, affinity := range []time.Duration{0, time.Hour} {
		p := start(t, nil)
		for want, at := range map[string]string{"one": backendAddr(1), "two": backendAddr(2)} {
			only.Store(&at)
			next := table(TCP, endpoints(backendAddr(1), backendAddr(2)), func(s *Service) { s.AffinityTimeout = affinity })
			next.Allow = allow
			p.Swap(next)
			for range 20 {
				for _, addr := range []string{vip, nodePort} {
					if got, err := ask(addr); err != nil || got != want {
						t.Fatal(addr, got, err)
					}
				}
			}
		}
		nobody := ""
		only.Store(&nobody)
		if got, err := ask(vip); err == nil {
			t.Errorf("a client that is allowed nothing got %q", got)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

// An address that moves from one service to another in one table stays served.
func TestAddressChangesHands(t *testing.T) {
	serve(t, backendAddr(1), named("one"))
	serve(t, backendAddr(2), named("two"))
	p := start(t, nil)
	p.Swap(table(TCP, endpoints(backendAddr(1))))
	next := table(TCP, endpoints(backendAddr(2)))
	next.Services[0].Name = "other"
	p.Swap(next)
	for _, addr := range []string{vip, nodePort} {
		if got, err := ask(addr); err != nil || got != "two" {
			t.Error(addr, got, err)
		}
	}
}

// A node port that another program holds is tried again by the next Swap, and harms nothing else.
func TestTakenPortIsTriedAgain(t *testing.T) {
	serve(t, backendAddr(1), named("one"))
	l, err := net.Listen("tcp", nodePort)
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, nil)
	next := table(TCP, endpoints(backendAddr(1)))
	p.Swap(next)
	if got, err := ask(vip); err != nil || got != "one" {
		t.Error(got, err)
	}
	_ = l.Close()
	p.Swap(next)
	if got, err := ask(nodePort); err != nil || got != "one" {
		t.Error(got, err)
	}
}

func TestConnectionLimit(t *testing.T) {
	serve(t, backendAddr(1), named("one"))
	p := start(t, func(c *Config) { c.Limits.Connections = 12; c.Loops = 1 }) // 10 of them for one port
	p.Swap(table(TCP, endpoints(backendAddr(1))))
	var held []net.Conn
	for range 10 {
		c := dial(t, vip)
		if _, err := askOn(c); err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	if _, err := ask(vip); !reset(err) {
		t.Errorf("one too many: %v, want a reset", err)
	}
	if n := p.Totals().Refused; n != 1 {
		t.Errorf("refused %d", n)
	}
	_ = held[0].Close()
	eventually(t, "room for another", func() bool { _, err := ask(vip); return err == nil })
}

// Connections, listeners, pipes and loops must leave no descriptor behind, however they end.
// Invariant 51.
func TestNothingLeaks(t *testing.T) {
	serve(t, backendAddr(1), echo)
	before := openFiles(t)
	p, err := New(Config{ServiceCIDR: netip.MustParsePrefix(serviceIP), Loops: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	t.Run("proxy", func(t *testing.T) {
		p := start(t, nil)
		p.Swap(table(TCP, endpoints(backendAddr(1))))
		idle := openFiles(t)
		for i := range 20 {
			c := dial(t, vip)
			_, _ = c.Write(random(1, 1<<20))
			switch i % 4 {
			case 0:
				_ = c.SetLinger(0)
			case 1:
				_ = c.CloseWrite()
			case 2:
				_, _ = io.CopyN(io.Discard, c, 1<<19)
			}
			if i < 16 {
				_ = c.Close()
			}
		}
		// What is left: 4 connections with a descriptor each in client and endpoint and two in the proxy, and pooled pipes.
		eventually(t, "descriptors given back", func() bool { return openFiles(t) <= idle+4*4+2*2*pipesPooled })
	})
	eventually(t, "descriptors given back", func() bool {
		runtime.GC() // the pipes with which the endpoint's io.Copy spliced are freed by finalizers
		return openFiles(t) <= before
	})
}

func TestTenThousandListeners(t *testing.T) {
	serve(t, backendAddr(1), named("one"))
	big := &Table{NodeName: "n1"}
	for i := range 10_000 {
		big.Services = append(big.Services, Service{
			Namespace: "many", Name: fmt.Sprint("s", i), VIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(100 + i/250), byte(1 + i%250)})},
			Ports: []Port{{Port: 80, Endpoints: endpoints(backendAddr(1))}},
		})
	}
	p := start(t, nil)
	begin := time.Now()
	p.Swap(big)
	t.Logf("10,000 services opened in %v", time.Since(begin))
	for _, addr := range []string{"10.96.100.1:80", "10.96.139.250:80"} {
		if got, err := ask(addr); err != nil || got != "one" {
			t.Fatal(addr, got, err)
		}
	}
	small := *big
	small.Services = append([]Service(nil), big.Services...)
	small.Services[5000].Ports = []Port{{Port: 80}}
	begin = time.Now()
	p.Swap(&small)
	t.Logf("one of them changed in %v", time.Since(begin))
	if _, err := ask("10.96.120.1:80"); !refused(err) {
		t.Errorf("the changed one: %v", err)
	}
}
