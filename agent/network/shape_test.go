package network

import (
	"io"
	"net"
	"testing"
	"time"
)

// send has from send bytes to to and returns how long it took until all had come.
func send(t *testing.T, from, to *space, address string, bytes int) time.Duration {
	t.Helper()
	var l net.Listener
	to.do(func() (err error) { l, err = net.Listen("tcp4", address+":0"); return err })
	defer l.Close()
	arrived := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			defer c.Close()
			_, err = io.CopyN(io.Discard, c, int64(bytes))
		}
		arrived <- err
	}()
	begin := time.Now()
	from.do(func() error {
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write(make([]byte, bytes)); err != nil {
			return err
		}
		return <-arrived
	})
	return time.Since(begin)
}

// What a pod receives and sends takes at least as long as its limit says, and without limits nothing is left of them.
func TestBandwidth(t *testing.T) {
	host, a, b := newSpace(t), newSpace(t), newSpace(t)
	wire(t, host, "eth0", "192.0.2.1/24", newSpace(t), "far", "192.0.2.2/24")
	n := host.start(config(t, "a", "192.0.2.1"), "10.42.0.0/24")
	addrA, addrB := n.mustAttach(t, "pod-a", a), n.mustAttach(t, "pod-b", b)
	const rate, bytes = 16_000_000, 2 << 20
	least := time.Duration(float64(bytes-shapeBurstMin)*8/rate*float64(time.Second)) * 9 / 10
	must(t, n.Shape(t.Context(), "pod-a", a.path(), rate, 0))
	if took := send(t, b, a, addrA.String(), bytes); took < least {
		t.Errorf("received within %v, the limit says %v", took, least)
	}
	must(t, n.Shape(t.Context(), "pod-a", a.path(), 0, rate))
	if took := send(t, a, b, addrB.String(), bytes); took < least {
		t.Errorf("sent within %v, the limit says %v", took, least)
	}
	must(t, n.Shape(t.Context(), "pod-a", a.path(), 0, 0))
	must(t, n.Shape(t.Context(), "pod-a", a.path(), 0, 0)) // nothing to take away any more
	for _, s := range []*space{host, a} {
		list, err := s.QdiscList(nil)
		must(t, err)
		for _, q := range list {
			if q.Type() == "tbf" {
				t.Errorf("a limit is left: %+v", q)
			}
		}
	}
	if err := n.Shape(t.Context(), "stranger", a.path(), rate, 0); err == nil {
		t.Error("a pod without a link was limited")
	}
}
