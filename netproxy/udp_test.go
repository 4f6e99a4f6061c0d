package netproxy

import (
	"bytes"
	"fmt"
	"net"
	"testing"
	"time"
)

// serveUDP answers every datagram with a prefix and its contents.
func serveUDP(t testing.TB, addr, prefix string) (stop func()) {
	t.Helper()
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 65536)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(append([]byte(prefix), b[:n]...), from)
		}
	}()
	stop = func() { _ = c.Close(); <-done }
	t.Cleanup(stop)
	return stop
}

func dialUDP(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// exchange sends a datagram until one comes back: UDP may lose some.
func exchange(t testing.TB, c net.Conn, payload []byte) []byte {
	t.Helper()
	b := make([]byte, 65536)
	for range 40 {
		_, _ = c.Write(payload)
		_ = c.SetReadDeadline(time.Now().Add(patience / 40))
		if n, err := c.Read(b); err == nil {
			return b[:n]
		}
	}
	t.Fatal("no answer")
	return nil
}

// The client's socket is connected, so an answer from any other address than the one asked would not arrive.
func TestUDPAnswersComeFromTheAddressAsked(t *testing.T) {
	serveUDP(t, backendAddr(1), "1:")
	p := start(t, nil)
	p.Swap(table(UDP, endpoints(backendAddr(1))))
	for _, addr := range []string{vip, nodePort, "127.0.0.1:30080"} {
		if got := exchange(t, dialUDP(t, addr), []byte("hi")); string(got) != "1:hi" {
			t.Errorf("%s: %q", addr, got)
		}
	}
	large := random(1, 60_000)
	if got := exchange(t, dialUDP(t, vip), large); !bytes.Equal(got[2:], large) {
		t.Error("a large datagram was changed")
	}
	if sum := p.Totals(); sum.Connections != 4 || sum.Active != 4 {
		t.Errorf("counters %+v", sum)
	}
}

func TestUDPManyFlowsKeepApart(t *testing.T) {
	serveUDP(t, backendAddr(1), "")
	serveUDP(t, backendAddr(2), "")
	p := start(t, nil)
	p.Swap(table(UDP, endpoints(backendAddr(1), backendAddr(2))))
	var conns []net.Conn
	for range 50 {
		conns = append(conns, dialUDP(t, vip))
	}
	for round := range 5 {
		for i, c := range conns {
			_, _ = fmt.Fprintf(c, "%d-%d", i, round)
		}
		for i, c := range conns {
			want := fmt.Sprintf("%d-%d", i, round)
			b := make([]byte, 64)
			_ = c.SetReadDeadline(time.Now().Add(patience))
			n, err := c.Read(b)
			if err != nil || string(b[:n]) != want {
				t.Fatalf("%q, %v, want %q", b[:n], err, want)
			}
		}
	}
}

// A client that keeps its port must move to another endpoint when its own leaves the table, dies, or falls silent.
func TestUDPSessionsFollowTheTable(t *testing.T) {
	serveUDP(t, backendAddr(1), "1:")
	stop := serveUDP(t, backendAddr(2), "2:")
	p := start(t, nil)
	p.Swap(table(UDP, endpoints(backendAddr(1))))
	c := dialUDP(t, vip)
	if got := exchange(t, c, []byte("a")); string(got) != "1:a" {
		t.Fatalf("%q", got)
	}
	p.Swap(table(UDP, endpoints(backendAddr(2))))
	if got := exchange(t, c, []byte("b")); string(got) != "2:b" {
		t.Fatalf("after the endpoint left: %q", got)
	}
	p.Swap(table(UDP, endpoints(backendAddr(1), backendAddr(2))))
	stop()
	if got := exchange(t, c, []byte("c")); string(got) != "1:c" {
		t.Fatalf("after the endpoint died: %q", got)
	}
	p.Swap(table(UDP, nil))
	eventually(t, "a port without endpoints is unreachable", func() bool {
		_, _ = c.Write([]byte("d"))
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		_, err := c.Read(make([]byte, 64))
		return refused(err)
	})
}

func TestUDPSessionsEnd(t *testing.T) {
	serveUDP(t, backendAddr(1), "")
	p := start(t, func(c *Config) { c.Limits.SessionIdle = 10 * time.Millisecond; c.Limits.Sessions = 2; c.Loops = 1 })
	p.Swap(table(UDP, endpoints(backendAddr(1))))
	for range 3 {
		exchange(t, dialUDP(t, vip), []byte("x"))
	}
	eventually(t, "idle sessions end", func() bool { sum := p.Totals(); return sum.Active == 0 })
}
