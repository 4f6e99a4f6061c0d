package netproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// patience is how long a test waits for what must come; it fails no test that is merely slow.
const patience = 20 * time.Second

// start runs a proxy until the test ends.
func start(t testing.TB, change func(*Config)) *Proxy {
	t.Helper()
	c := Config{
		Logger:        hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: io.Discard}),
		ServiceCIDR:   netip.MustParsePrefix(serviceIP),
		SourceAddress: netip.MustParseAddr(nodeIP),
		Loops:         2,
	}
	if change != nil {
		change(&c)
	}
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return p
}

// endpoints makes ready endpoints on node "n1".
func endpoints(addrs ...string) []Endpoint {
	var out []Endpoint
	for _, a := range addrs {
		out = append(out, Endpoint{Address: netip.MustParseAddrPort(a), Node: "n1", Ready: true, Serving: true})
	}
	return out
}

// table is one with a single service "web" on 10.96.0.10:80 and node port 30080.
func table(protocol Protocol, eps []Endpoint, change ...func(*Service)) *Table {
	s := Service{
		Namespace: "default", Name: "web", VIPs: []netip.Addr{netip.MustParseAddr("10.96.0.10")},
		Ports: []Port{{Name: "http", Protocol: protocol, Port: 80, NodePort: 30080, Endpoints: eps}},
	}
	for _, f := range change {
		f(&s)
	}
	return &Table{
		NodeName: "n1", ClusterDomain: "cluster.local",
		NodeAddresses: []netip.Addr{netip.MustParseAddr(nodeIP)}, Services: []Service{s},
	}
}

const (
	vip      = "10.96.0.10:80"
	nodePort = nodeIP + ":30080"
)

// serve accepts connections on addr until the test ends or the returned function is called. Like a good server it takes
// what is queued before it stops listening: closing earlier would reset clients that are connected already.
func serve(t testing.TB, addr string, handle func(*net.TCPConn)) (stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	stopped := make(chan struct{})
	all.Go(func() {
		defer close(stopped)
		defer l.Close()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				handle(c.(*net.TCPConn))
			})
		}
	})
	stop = sync.OnceFunc(func() {
		_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(50 * time.Millisecond))
		<-stopped
	})
	t.Cleanup(func() { stop(); all.Wait() })
	return stop
}

// echo sends back what it gets, and its end.
func echo(c *net.TCPConn) {
	_, _ = io.Copy(c, c)
	_ = c.CloseWrite()
}

// named answers with a name as soon as a line has come.
func named(name string) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		b := make([]byte, 1)
		for {
			if _, err := c.Read(b); err != nil {
				return
			}
			if b[0] == '\n' {
				if _, err := io.WriteString(c, name+"\n"); err != nil {
					return
				}
			}
		}
	}
}

func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

// ask opens a connection, sends a line and returns the line that comes back.
func ask(addr string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return askOn(c)
}

func askOn(c net.Conn) (string, error) {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "who\n"); err != nil {
		return "", err
	}
	b := make([]byte, 64)
	n, err := c.Read(b)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b[:n])), nil
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patience)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func openFiles(t testing.TB) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

func reset(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "reset") || strings.Contains(err.Error(), "broken pipe")) &&
		!errors.Is(err, io.EOF)
}

func refused(err error) bool { return err != nil && strings.Contains(err.Error(), "refused") }

func backendAddr(i int) string { return fmt.Sprintf("10.20.0.%d:8080", i) }
