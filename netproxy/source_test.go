package netproxy

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// from asks a TCP service from an address of this host.
func from(client, at string) (string, error) {
	d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(client)}}
	c, err := d.Dial("tcp", at)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return askOn(c)
}

// whoIs answers with the client's address.
func whoIs(c *net.TCPConn) { fmt.Fprintln(c, c.RemoteAddr().(*net.TCPAddr).IP) }

func TestEndpointsSeeTheClient(t *testing.T) {
	serve(t, backendAddr(1), whoIs)
	p := start(t, nil)
	for _, c := range []struct {
		name   string
		change func(*Service)
		client string
		want   string // "" is anything but the client
	}{
		{"kept", func(s *Service) { s.KeepInternal = true }, "10.20.0.5", "10.20.0.5"},
		{"not asked for", func(s *Service) {}, "10.20.0.5", ""},
		{"of the other scope", func(s *Service) { s.KeepExternal = true }, "10.20.0.5", ""},
		{"its own client", func(s *Service) { s.KeepInternal = true }, "10.20.0.1", "10.20.0.1"}, // it answers, as what the host is
	} {
		p.Swap(table(TCP, endpoints(backendAddr(1)), c.change))
		got, err := from(c.client, vip)
		if err != nil || c.want != "" && got != c.want || c.want == "" && got == c.client {
			t.Errorf("%s: the endpoint saw %q, %v", c.name, got, err)
		}
	}
}

// Where an endpoint's answer would not come back, it sees this host: the client is served, and the port's counters tell.
func TestSourcesThatCannotBeKept(t *testing.T) {
	serve(t, backendAddr(1), whoIs)
	p := start(t, nil)
	with := table(TCP, endpoints(backendAddr(1)), func(s *Service) { s.KeepInternal = true })
	with.Keeps = func(client, endpoint netip.Addr) bool {
		return client == netip.MustParseAddr("10.20.0.5") && endpoint == netip.MustParseAddrPort(backendAddr(1)).Addr()
	}
	p.Swap(with)
	for client, kept := range map[string]bool{"10.20.0.5": true, "10.20.0.6": false} {
		if got, err := from(client, vip); err != nil || (got == client) != kept {
			t.Errorf("%s: the endpoint saw %q, %v", client, got, err)
		}
	}
	if n := p.Totals().Unkept; n != 1 {
		t.Errorf("%d connects are counted, want 1", n)
	}
}

// There are fewer ports for connections in a client's name than a client may have connections in a minute.
func TestKeptPortsRunOut(t *testing.T) {
	serve(t, backendAddr(1), whoIs)
	p := start(t, nil)
	p.Swap(table(TCP, endpoints(backendAddr(1)), func(s *Service) { s.KeepInternal = true }))
	for i := range keptPorts + 200 {
		if got, err := from("10.20.0.5", vip); err != nil || got != "10.20.0.5" {
			t.Fatalf("connection %d: the endpoint saw %q, %v", i, got, err)
		}
	}
}

func TestEndpointsSeeTheClientOfDatagrams(t *testing.T) {
	l, err := net.ListenPacket("udp", backendAddr(1))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		b := make([]byte, 64)
		for {
			_, peer, err := l.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = l.WriteTo([]byte(peer.(*net.UDPAddr).AddrPort().Addr().Unmap().String()), peer)
		}
	}()
	p := start(t, nil)
	p.Swap(table(UDP, endpoints(backendAddr(1)), func(s *Service) { s.KeepInternal = true }))
	for range 3 { // sessions of one client are kept apart
		c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP("10.20.0.5")}, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(vip)))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := string(exchange(t, c, []byte("who"))); !strings.HasSuffix(got, "10.20.0.5") {
			t.Errorf("the endpoint saw %q", got)
		}
	}
}
