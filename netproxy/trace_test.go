package netproxy

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// What is traced is what is in force: addresses that are open, endpoints that are taken, dials that succeeded and failed.
func TestTrace(t *testing.T) {
	p := start(t, nil)
	serve(t, backendAddr(1), named("one"))
	p.Swap(table(TCP, endpoints(backendAddr(1))))
	for range 3 {
		if _, err := ask(vip); err != nil {
			t.Fatal(err)
		}
	}
	if p.Trace("default", "db") != nil {
		t.Error("a service that is not there is traced")
	}
	got := p.Trace("default", "web")
	if len(got) != 1 || len(got[0].Backends) != 1 {
		t.Fatalf("traced %+v", got)
	}
	port, b := got[0], got[0].Backends[0]
	if !slices.Contains(port.Listening, netip.MustParseAddrPort(vip)) || !slices.Contains(port.Listening, netip.MustParseAddrPort(nodePort)) {
		t.Errorf("open are %v", port.Listening)
	}
	if b.Connections != 3 || b.Failures != 0 || !b.Internal || !b.External || b.Avoided {
		t.Errorf("the endpoint is %+v", b)
	}
	eventually(t, "what was carried is counted for the endpoint as for the port", func() bool {
		port, b = p.Trace("default", "web")[0], p.Trace("default", "web")[0].Backends[0]
		return b.BytesIn > 0 && b.BytesIn == port.Counters.BytesIn && b.BytesOut > 0 && b.BytesOut == port.Counters.BytesOut
	})
	if b.Latency != port.Latency {
		t.Errorf("dials took %v, those of the only endpoint %v", port.Latency, b.Latency)
	}
	dials := uint64(0)
	for _, n := range port.Latency.Buckets {
		dials += n
	}
	if dials != 3 || port.Latency.Sum <= 0 {
		t.Errorf("%d dials in %v were counted", dials, port.Latency.Sum)
	}

	p.Swap(table(TCP, endpoints(backendAddr(1), backendAddr(2)))) // nobody listens at the second
	eventually(t, "a dial that fails", func() bool {
		if _, err := ask(vip); err != nil {
			t.Fatal(err)
		}
		b := p.Trace("default", "web")[0].Backends[1]
		return b.Failures > 0 && b.Avoided
	})
	if n := len(p.Ports()); n != 1 {
		t.Errorf("%d ports in all", n)
	}
}

func TestLatencyBuckets(t *testing.T) {
	var l latency
	for _, d := range []time.Duration{0, 100 * time.Microsecond, 101 * time.Microsecond, time.Second, time.Second + 1, time.Hour} {
		l.observe(d)
	}
	want := map[int]uint64{0: 2, 1: 1, len(LatencyBounds) - 1: 1, len(LatencyBounds): 2}
	for i := range l.buckets {
		if n := l.buckets[i].Load(); n != want[i] {
			t.Errorf("bucket %d has %d, want %d", i, n, want[i])
		}
	}
}
