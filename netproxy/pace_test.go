package netproxy

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// control is a socket's congestion control.
func control(t *testing.T, fd int) string {
	t.Helper()
	name, err := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimRight(name, "\x00")
}

// usual is the congestion control of sockets that nobody asked for another, cubic if the kernel has it.
func usual(t *testing.T) string {
	t.Helper()
	const setting = "/proc/sys/net/ipv4/tcp_congestion_control"
	_ = os.WriteFile(setting, []byte("cubic"), 0o644) // of this process's namespace
	raw, err := os.ReadFile(setting)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(raw))
}

func TestSocketsWithinTheMachineAreNotPaced(t *testing.T) {
	others := usual(t)
	for sc, want := range map[scope]string{internal: "reno", external: others, internal6: "reno", external6: others} {
		at := netip.MustParseAddrPort("10.96.7.7:80")
		if sc >= internal6 {
			at = netip.MustParseAddrPort("[fd00:96::7]:80")
		}
		fd, err := openListener(listenKey{at, TCP, sc})
		if err != nil {
			t.Fatal(err)
		}
		if got := control(t, fd); got != want {
			t.Errorf("a listener of scope %d has %q, want %q", sc, got, want)
		}
		rawClose(fd)
	}
}

func TestDialsWithinTheMachineAreNotPaced(t *testing.T) {
	others := usual(t)
	for _, c := range []struct{ node, of, want string }{{"n1", "n1", "reno"}, {"n1", "n2", others}, {"n1", "", others}, {"", "", others}} {
		l, err := newLoop(0, 1, Limits{}.withDefaults(1000), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		list := []Endpoint{{Address: netip.MustParseAddrPort(backendAddr(1)), Node: c.of}}
		b := keep(&roster{}, &roster{}, list, c.node)[0]
		dialling := &conn{target: newTarget(TargetName{}, 1, &gate{})}
		if e := dialling.start(l, b, l.now()); e != 0 {
			t.Fatal(e)
		}
		if got := control(t, dialling.side[server].fd); got != c.want {
			t.Errorf("from node %q to one of %q: %q, want %q", c.node, c.of, got, c.want)
		}
		l.release()
	}
}
