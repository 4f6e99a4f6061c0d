package netproxy

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
)

func TestProxyHeader(t *testing.T) {
	for _, c := range []struct{ from, at, want string }{
		{"192.0.2.1:256", "10.96.0.10:80", "0d0a0d0a000d0a515549540a2111000cc00002010a60000a01000050"},
		{"[fd00::1]:1", "[fd00::2]:2", "0d0a0d0a000d0a515549540a21210024fd000000000000000000000000000001fd00000000000000000000000000000200010002"},
	} {
		if got := fmt.Sprintf("%x", proxyHeader(netip.MustParseAddrPort(c.from), netip.MustParseAddrPort(c.at))); got != c.want {
			t.Errorf("%s to %s: %s, want %s", c.from, c.at, got, c.want)
		}
	}
}

// The endpoint learns the client's own address and port, before anything that the client sends.
func TestEndpointsAreToldTheClient(t *testing.T) {
	got := make(chan string, 1)
	serve(t, backendAddr(1), func(c *net.TCPConn) {
		b := make([]byte, 28+4)
		n := 0
		for n < len(b) {
			m, err := c.Read(b[n:])
			if err != nil {
				break
			}
			n += m
		}
		got <- string(b[:n])
		_, _ = c.Write([]byte("done\n"))
	})
	p := start(t, nil)
	p.Swap(table(TCP, endpoints(backendAddr(1)), func(s *Service) { s.ProxyHeader = true }))
	c := dial(t, vip)
	if answer, err := askOn(c); err != nil || answer != "done" {
		t.Fatalf("%q, %v", answer, err)
	}
	from := c.LocalAddr().(*net.TCPAddr).AddrPort()
	want := string(proxyHeader(netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), netip.MustParseAddrPort(vip))) + "who\n"
	if h := <-got; h != want {
		t.Errorf("the endpoint got %x, want %x", h, want)
	}
}
