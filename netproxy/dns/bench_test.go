package dns

import (
	"context"
	"net"
	"net/netip"
	"os"
	"testing"

	mdns "github.com/miekg/dns"
)

// BenchmarkAnswer is one datagram's way from what the kernel gave to what it gets, without the system calls.
func BenchmarkAnswer(b *testing.B) {
	s, err := New(Config{Addr: netip.MustParseAddrPort("127.0.0.1:0"), Upstreams: []netip.AddrPort{}, Resolv: os.DevNull})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	s.Swap(cluster())
	l := newLoop(s, s.loops[0].conn)
	l.of = s.zone.Load()
	from, buf := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, make([]byte, 0, udpSizeMax)
	for _, c := range []struct {
		what, name string
		kind       uint16
		forget     bool
	}{
		{"packed", "web.default.svc.cluster.local.", mdns.TypeA, false}, {"unpacked", "web.default.svc.cluster.local.", mdns.TypeA, true},
		{"headless", "db.data.svc.cluster.local.", mdns.TypeA, false}, {"missing", "none.default.svc.cluster.local.", mdns.TypeA, false},
	} {
		q, err := new(mdns.Msg).SetQuestion(c.name, c.kind).Pack()
		if err != nil {
			b.Fatal(err)
		}
		b.Run(c.what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if c.forget {
					clear(l.packed)
				}
				if len(l.answer(context.Background(), q, from, buf)) == 0 {
					b.Fatal("no answer")
				}
			}
		})
	}
}
