package netproxy

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestExternalAddresses(t *testing.T) {
	serve(t, backendAddr(1), named("a"))
	p := start(t, nil)
	ip := netip.MustParseAddr("203.0.113.5")
	p.Swap(table(TCP, endpoints(backendAddr(1)), func(s *Service) { s.ExternalIPs = []netip.Addr{ip} }))
	if got, err := ask("203.0.113.5:80"); err != nil || got != "a" {
		t.Fatalf("%q, %v", got, err)
	}
	p.Swap(table(TCP, endpoints(backendAddr(1)), func(s *Service) {
		s.ExternalIPs, s.ExternalLocal = []netip.Addr{ip}, true
		s.Ports[0].Endpoints[0].Node = "n2"
	}))
	if _, err := ask("203.0.113.5:80"); !refused(err) {
		t.Fatalf("a local policy without local endpoints: %v", err)
	}
	p.Swap(table(TCP, endpoints(backendAddr(1))))
	if left := localTo(t, ip); len(left) > 0 {
		t.Fatalf("the address is still local on %v", left)
	}
}

// What answers at an address already is left alone by every service that names it, of either protocol, as an external address too.
func TestReservedAddresses(t *testing.T) {
	serve(t, backendAddr(1), named("a"))
	dns := netip.MustParseAddrPort(vip)
	p := start(t, func(c *Config) { c.Reserved = []netip.AddrPort{dns} })
	for _, protocol := range []Protocol{TCP, UDP} {
		tb := table(protocol, endpoints(backendAddr(1)), func(s *Service) {
			s.Ports = append(s.Ports, Port{Name: "other", Port: 81, Endpoints: s.Ports[0].Endpoints})
		})
		tb.Services = append(tb.Services, Service{Namespace: "other", Name: "thief", ExternalIPs: []netip.Addr{dns.Addr()},
			VIPs: []netip.Addr{netip.MustParseAddr("10.96.0.11")}, Ports: tb.Services[0].Ports[:1]})
		p.Swap(tb)
		if err := holds("tcp", vip); err != nil {
			t.Errorf("by TCP: %v", err)
		}
		if err := holds("udp", vip); err != nil {
			t.Errorf("by UDP: %v", err)
		}
		if got, err := ask("10.96.0.10:81"); err != nil || got != "a" {
			t.Errorf("another port: %q, %v", got, err)
		}
	}
}

// holds says why an address cannot be listened at; nil is that it can.
func holds(network, at string) error {
	if network == "udp" {
		c, err := net.ListenPacket(network, at)
		if err == nil {
			err = c.Close()
		}
		return err
	}
	l, err := net.Listen(network, at)
	if err == nil {
		err = l.Close()
	}
	return err
}

// Only the addresses of the load balancer are guarded, and only clients outside the ranges are kept out.
func TestSourceRanges(t *testing.T) {
	serve(t, backendAddr(1), named("a"))
	p := start(t, nil)
	for _, c := range []struct {
		ranges string
		in     bool
	}{{nodeIP + "/32", true}, {"198.51.100.0/24", false}} {
		p.Swap(table(TCP, endpoints(backendAddr(1)), func(s *Service) {
			s.BalancerIPs = []netip.Addr{netip.MustParseAddr("203.0.113.6")}
			s.ExternalIPs = []netip.Addr{netip.MustParseAddr("203.0.113.7")}
			s.SourceRanges = []netip.Prefix{netip.MustParsePrefix(c.ranges)}
		}))
		if got, err := ask("203.0.113.6:80"); (err == nil) != c.in || c.in && got != "a" {
			t.Errorf("a client of %s: %q, %v", c.ranges, got, err)
		}
		for _, open := range []string{"203.0.113.7:80", vip, nodePort} {
			if got, err := ask(open); err != nil || got != "a" {
				t.Errorf("%s while only %s may use another address: %q, %v", open, c.ranges, got, err)
			}
		}
	}
}

func TestSourceRangesOfDatagrams(t *testing.T) {
	l, err := net.ListenPacket("udp", backendAddr(2))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := start(t, nil)
	p.Swap(table(UDP, endpoints(backendAddr(2)), func(s *Service) {
		s.BalancerIPs = []netip.Addr{netip.MustParseAddr("203.0.113.8")}
		s.SourceRanges = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	}))
	for _, to := range []string{"203.0.113.8:80", vip} { // of the two the second comes, and comes alone
		c, err := net.Dial("udp", to)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte(to)); err != nil {
			t.Fatal(err)
		}
		if to != vip {
			eventually(t, "the datagram is counted as an error", func() bool { sum := p.Totals(); return sum.Errors == 1 })
		}
	}
	b := make([]byte, 64)
	_ = l.SetReadDeadline(time.Now().Add(patience))
	if n, _, err := l.ReadFrom(b); err != nil || string(b[:n]) != vip {
		t.Fatalf("%q, %v", b[:n], err)
	}
}

func TestNearEndpoints(t *testing.T) {
	list := endpoints("10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1")
	list[1].Near, list[2].Node = true, "n2"
	p := &Port{Endpoints: list}
	for _, c := range []struct {
		name string
		svc  Service
		edit func()
		want int
	}{
		{"near ones are preferred", Service{}, nil, 1},
		{"a local policy knows no nearer", Service{InternalLocal: true}, nil, 2},
		{"what is not ready is not near", Service{}, func() { list[1].Ready = false }, 2},
	} {
		if c.edit != nil {
			c.edit()
		}
		if got := eligible(&c.svc, p, "n1", internal); len(got) != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
