package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// space is a network namespace made by the test. It lives as long as its descriptor.
type space struct {
	t  testing.TB
	ns netns.NsHandle
	*netlink.Handle
}

func newSpace(t testing.TB) *space {
	t.Helper()
	done := make(chan netns.NsHandle)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		ns, err := netns.New()
		if err != nil {
			t.Error(err)
			ns = netns.None()
		}
		done <- ns
	}()
	ns := <-done
	if !ns.IsOpen() {
		t.FailNow()
	}
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	must(t, err)
	s := &space{t: t, ns: ns, Handle: h}
	t.Cleanup(func() { h.Close(); ns.Close() })
	s.do(func() error { return s.LinkSetUp(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: 1}}) })
	// A new namespace takes the machine's own value over, which may be 1 already.
	s.do(func() error { return writeSysctl("net/ipv4/ip_forward", "0") })
	return s
}

func (s *space) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(s.ns)) }

// do runs f on a thread inside the namespace.
func (s *space) do(f func() error) {
	s.t.Helper()
	must(s.t, (&home{ns: s.ns}).run(f))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// wire joins two spaces with a veth pair that has the addresses a and b.
func wire(t testing.TB, x *space, nameX, a string, y *space, nameY, b string) {
	t.Helper()
	must(t, x.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: nameX}, PeerName: nameY, PeerNamespace: netlink.NsFd(int(y.ns))}))
	x.dress(nameX, a)
	y.dress(nameY, b)
}

func (s *space) dress(name, cidr string) {
	s.t.Helper()
	l, err := s.LinkByName(name)
	must(s.t, err)
	if cidr != "" {
		must(s.t, s.AddrAdd(l, &netlink.Addr{IPNet: ipNet(prefix(cidr))}))
	}
	must(s.t, s.LinkSetUp(l))
}

func (s *space) defaultVia(gw string) {
	s.t.Helper()
	must(s.t, s.RouteAdd(&netlink.Route{Gw: addr(gw).AsSlice()}))
}

func config(t testing.TB, name, ip string) Config {
	return Config{NodeName: name, NodeIP: addr(ip), ClusterCIDR: prefix("10.42.0.0/16"), ServiceCIDR: prefix("10.43.0.0/16"), StateDir: t.TempDir(),
		Logger: hclog.New(&hclog.LoggerOptions{Name: name, Level: hclog.Info, Output: testLog{t}})}
}

type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// start opens a network in the space; it is stopped with the test, if the test has not done so.
func (s *space) start(cfg Config, cidr string) *Network {
	s.t.Helper()
	var n *Network
	s.do(func() (err error) { n, err = New(cfg); return err })
	s.t.Cleanup(n.Stop)
	if cidr != "" {
		must(s.t, n.Setup(context.Background(), prefix(cidr)))
	}
	return n
}

func (n *Network) mustAttach(t testing.TB, uid string, pod *space) netip.Addr {
	t.Helper()
	ip, err := n.Attach(context.Background(), uid, pod.path())
	must(t, err)
	return ip[0]
}

// echo serves TCP on port 80 in the space: it answers with the address of whoever asks.
func (s *space) echo() {
	s.t.Helper()
	var l net.Listener
	s.do(func() (err error) { l, err = net.Listen("tcp4", "0.0.0.0:80"); return err })
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, c.RemoteAddr().(*net.TCPAddr).IP)
			c.Close()
		}
	}()
	s.t.Cleanup(func() { l.Close(); <-done })
}

// ask connects from the space to the echo at ip and returns the address that it saw.
func (s *space) ask(ip netip.Addr) (string, error) {
	var seen string
	err := (&home{ns: s.ns}).run(func() error {
		c, err := net.DialTimeout("tcp4", netip.AddrPortFrom(ip, 80).String(), 2*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		b := make([]byte, 64)
		k, err := c.Read(b)
		seen = string(b[:k])
		return err
	})
	return seen, err
}

func (s *space) mustAsk(ip netip.Addr) string {
	s.t.Helper()
	seen, err := s.ask(ip)
	must(s.t, err)
	return seen
}

func eventually(t testing.TB, what string, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}
