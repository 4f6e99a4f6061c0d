package netproxy

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	otherVIP      = "10.96.0.20:80"
	otherEndpoint = "10.20.0.8:80"
)

// beside makes a table of the service "web" as in table, and one "other" that nothing is wrong with, on otherVIP.
func beside(t *testing.T, protocol Protocol, eps []Endpoint) *Table {
	t.Helper()
	if protocol == TCP {
		serve(t, otherEndpoint, named("other"))
	} else {
		serveUDP(t, otherEndpoint, "other:")
	}
	return withOther(protocol, eps)
}

func withOther(protocol Protocol, eps []Endpoint) *Table {
	both := table(protocol, eps)
	both.Services = append(both.Services, Service{Namespace: "default", Name: "other", VIPs: []netip.Addr{netip.MustParseAddrPort(otherVIP).Addr()},
		Ports: []Port{{Name: "http", Protocol: protocol, Port: 80, Endpoints: endpoints(otherEndpoint)}}})
	return both
}

// unharmed checks that the other service answers.
func unharmed(t *testing.T) {
	t.Helper()
	if got, err := ask(otherVIP); err != nil || got != "other" {
		t.Errorf("the other service: %q, %v", got, err)
	}
}

func countersOf(p *Proxy, service string) Counters {
	for name, c := range p.Counters() {
		if name.Name == service {
			return c
		}
	}
	return Counters{}
}

// givenBack waits until no connection and no more descriptors are held than before.
func givenBack(t *testing.T, p *Proxy, before int) {
	t.Helper()
	eventually(t, "everything given back", func() bool {
		runtime.GC() // what the test's own endpoints splice with is freed by finalizers
		return p.Totals().Active == 0 && openFiles(t) <= before
	})
}

// held is an endpoint that takes connections and says nothing until the test lets go.
func held(t *testing.T, addr string) (letGo func()) {
	t.Helper()
	done := make(chan struct{})
	serve(t, addr, func(*net.TCPConn) { <-done })
	letGo = sync.OnceFunc(func() { close(done) })
	t.Cleanup(letGo)
	return letGo
}

// Endpoints that do not answer keep their own clients waiting and nobody else's, be they slow or lost.
func TestSlowAndLostEndpointsHarmNoOther(t *testing.T) {
	blackHole(t, "10.30.0.3")
	letGo := held(t, backendAddr(1))
	p := start(t, func(c *Config) { c.Limits.ConnectPatience, c.Limits.ConnectTimeout = time.Hour, time.Hour })
	p.Swap(beside(t, TCP, endpoints(backendAddr(1), "10.30.0.3:80")))
	before := openFiles(t)
	var waiting []net.Conn
	for range 200 {
		waiting = append(waiting, dial(t, vip))
		if len(waiting)%50 == 0 {
			unharmed(t)
		}
	}
	eventually(t, "all are held", func() bool { return countersOf(p, "web").Active == 200 })
	p.Swap(withOther(TCP, endpoints(backendAddr(1)))) // the lost one leaves the table, and its clients are dialled anew
	letGo()
	for i, c := range waiting {
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("client %d: %v, want the end that the slow endpoint made", i, err)
		}
		_ = c.Close()
	}
	givenBack(t, p, before)
}

// However many clients one service has, others have room.
// Invariant 190.
func TestCrowdLeavesRoomForOthers(t *testing.T) {
	held(t, backendAddr(1))
	p := start(t, func(c *Config) { c.Limits.Connections = 100; c.Loops = 1 })
	p.Swap(beside(t, TCP, endpoints(backendAddr(1))))
	for range 150 {
		if c, err := net.Dial("tcp", vip); err == nil { // the reset of one that is refused may come before or after
			t.Cleanup(func() { _ = c.Close() })
		}
	}
	eventually(t, "the crowd is held or refused", func() bool {
		c := countersOf(p, "web")
		return c.Active+int64(c.Refused) == 150
	})
	if c := countersOf(p, "web"); c.Active != 80 || c.Errors != c.Refused {
		t.Errorf("the crowd has %+v, want 80 of 100", c)
	}
	for range 3 {
		unharmed(t)
	}
	if c := countersOf(p, "other"); c.Refused != 0 {
		t.Errorf("the other service was refused %d", c.Refused)
	}
}

// A client that never reads holds back its endpoint, and costs the proxy two descriptors and a buffer; few have a pipe.
// Invariant 190.
func TestClientsThatNeverRead(t *testing.T) {
	const clients, loops = pipesLent + 30, 1
	sysctl(t, "tcp_wmem", "4096 16384 262144") // of what the kernel keeps for each, less than on a usual host
	sysctl(t, "tcp_rmem", "4096 131072 1048576")
	block := make([]byte, 256<<10)
	serve(t, backendAddr(1), func(c *net.TCPConn) {
		_ = c.SetWriteBuffer(64 << 10)
		for {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	})
	p := start(t, func(c *Config) { c.Loops = loops })
	p.Swap(beside(t, TCP, endpoints(backendAddr(1))))
	before := openFiles(t)
	var all []*net.TCPConn
	for range clients {
		c := dial(t, vip)
		_ = c.SetReadBuffer(4 << 10)
		all = append(all, c)
	}
	last := uint64(0)
	eventually(t, "the endpoint is held back", func() bool {
		now := p.Totals().BytesOut
		same := now == last && p.Totals().Active == clients
		last = now
		return same
	})
	if files := openFiles(t) - before; files > 4*clients+2*pipesLent*loops {
		t.Errorf("%d descriptors for %d clients", files, clients)
	}
	unharmed(t)
	for _, c := range all {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
	givenBack(t, p, before+2*pipesPooled*loops)
}

// Connections that are reset as soon as they stand leave nothing behind.
func TestResetFlood(t *testing.T) {
	serve(t, backendAddr(1), echo)
	p := start(t, nil)
	p.Swap(beside(t, TCP, endpoints(backendAddr(1))))
	before := openFiles(t)
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for range 500 {
				c, err := net.DialTimeout("tcp", vip, patience)
				if err != nil {
					continue
				}
				_ = c.(*net.TCPConn).SetLinger(0)
				_ = c.Close()
			}
		})
	}
	for range 10 {
		unharmed(t)
	}
	clients.Wait()
	if got, err := ask(otherVIP); err != nil || got != "other" {
		t.Errorf("after the flood: %q, %v", got, err)
	}
	givenBack(t, p, before)
}

// Connections of which one half has ended cost what others do, and are gone with the other half.
func TestHalfClosedConnections(t *testing.T) {
	letGo := held(t, backendAddr(1))
	p := start(t, nil)
	p.Swap(beside(t, TCP, endpoints(backendAddr(1))))
	before := openFiles(t)
	var all []*net.TCPConn
	for range 200 {
		c := dial(t, vip)
		_ = c.CloseWrite()
		all = append(all, c)
	}
	eventually(t, "all half closed", func() bool { return p.Totals().Active == 200 && openFiles(t) <= before+4*200 })
	unharmed(t)
	letGo()
	for _, c := range all {
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("a half-closed connection ends with %v", err)
		}
		_ = c.Close()
	}
	givenBack(t, p, before)
}

// As many connections as this process has descriptors for, up to 20,000, all at once: each is answered, and costs the proxy two.
func TestManyConnectionsAtOnce(t *testing.T) {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	n := min(20_000, int(min(files.Cur, 1<<20))/6)
	serve(t, backendAddr(1), named("one"))
	p := start(t, func(c *Config) { c.Limits.Connections = 2 * n })
	p.Swap(beside(t, TCP, endpoints(backendAddr(1))))
	before := openFiles(t)
	all := make([]net.Conn, n)
	var clients sync.WaitGroup
	for part := range 8 {
		clients.Go(func() {
			for i := part; i < n; i += 8 {
				c, err := net.DialTimeout("tcp", vip, patience)
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
				all[i] = c
			}
		})
	}
	clients.Wait()
	eventually(t, "all stand", func() bool { return p.Totals().Active == int64(n) && openFiles(t) <= before+4*n })
	for i := range all {
		if got, err := askOn(all[i]); err != nil || got != "one" {
			t.Fatalf("connection %d: %q, %v", i, got, err)
		}
		_ = all[i].Close()
	}
	givenBack(t, p, before)
}

// With all ports used from which an endpoint can be dialled, clients of it are reset; the endpoint is not to blame, and others
// are dialled as before.
func TestPortsRunOut(t *testing.T) {
	const ports = 10
	sysctl(t, "ip_local_port_range", fmt.Sprint(62_000, 62_000+ports-1)) // where no other test's wait to be used again
	serve(t, backendAddr(1), named("one"))
	serve(t, backendAddr(2), named("two"))
	p := start(t, nil)
	p.Swap(beside(t, TCP, endpoints(backendAddr(1), backendAddr(2))))
	next := 20_000 // the clients' own ports are not among those that run out
	open := func(to string) (net.Conn, error) {
		next++
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(nodeIP), Port: next}, Timeout: patience}
		c, err := d.Dial("tcp", to)
		if err != nil {
			return nil, err
		}
		_ = c.(*net.TCPConn).SetLinger(0) // so that no port is kept
		t.Cleanup(func() { _ = c.Close() })
		_, err = askOn(c)
		return c, err
	}
	var first net.Conn
	for i := range 2 * ports {
		c, err := open(vip)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		if first == nil {
			first = c
		}
	}
	if _, err := open(vip); !reset(err) {
		t.Errorf("without a port: %v, want a reset", err)
	}
	if c := countersOf(p, "web"); c.Refused != 1 || c.Errors != 1 || c.Retries != 0 {
		t.Errorf("counters %+v", c)
	}
	for _, b := range p.Trace("default", "web")[0].Backends {
		if b.Failures != 0 || b.Avoided {
			t.Errorf("an endpoint is blamed: %+v", b)
		}
	}
	if _, err := open(otherVIP); err != nil {
		t.Errorf("the other service: %v", err)
	}
	_ = first.Close()
	eventually(t, "a port is free again", func() bool { _, err := open(vip); return err == nil })
}

// sysctl changes one of IPv4's settings of the test's network namespace until the test ends.
func sysctl(t *testing.T, name, value string) {
	t.Helper()
	file := "/proc/sys/net/ipv4/" + name
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(file, before, 0) })
	if err := os.WriteFile(file, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

// Datagrams from ever new sources keep sessions and descriptors within their limit. New sources are answered, who talks on keeps its
// session, and another service is not harmed.
// Invariant 190.
func TestDatagramsFromManySources(t *testing.T) {
	const sources, most = 10_000, 300
	serveSources(t, backendAddr(1))
	p := start(t, func(c *Config) { c.Limits.Sessions = most })
	p.Swap(beside(t, UDP, endpoints(backendAddr(1))))
	steady := dialUDP(t, vip)
	at := string(exchange(t, steady, []byte("x")))
	before := openFiles(t)
	for i := range sources {
		c, err := net.Dial("udp", vip)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte("x"))
		if i%500 == 499 { // lest the socket's buffer overflows, and to be one of the answered
			exchange(t, c, []byte("x"))
		}
		if i%20 == 0 {
			if got := string(exchange(t, steady, []byte("x"))); got != at {
				t.Fatalf("after %d sources the steady client's session moved from %s to %s", i, at, got)
			}
		}
		_ = c.Close()
	}
	if files := openFiles(t) - before; files > most+10 {
		t.Errorf("%d descriptors for %d sessions", files, most)
	}
	c := countersOf(p, "web")
	if c.Active > most || c.Displaced == 0 || int64(c.Connections-c.Displaced) < c.Active {
		t.Errorf("counters %+v", c)
	}
	if got := string(exchange(t, dialUDP(t, otherVIP), []byte("x"))); !strings.HasPrefix(got, "other:") {
		t.Errorf("the other service: %q", got)
	}
}

// serveSources answers each datagram with the address that it came from.
func serveSources(t *testing.T, addr string) {
	t.Helper()
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			_, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = c.WriteTo([]byte(from.String()), from)
		}
	}()
}
