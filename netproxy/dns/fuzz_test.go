package dns

import (
	"context"
	"net"
	"net/netip"
	"os"
	"testing"

	mdns "github.com/miekg/dns"
)

// sink takes one answer.
type sink struct {
	mdns.ResponseWriter
	from   net.Addr
	answer *mdns.Msg
}

func (s *sink) RemoteAddr() net.Addr       { return s.from }
func (s *sink) WriteMsg(m *mdns.Msg) error { s.answer = m; return nil }

// FuzzQuery: every message that can be read is answered with one that can be sent: to the question, and no longer than the client takes.
func FuzzQuery(f *testing.F) {
	for _, q := range []struct {
		name string
		kind uint16
	}{{"web.default.svc.cluster.local.", mdns.TypeA}, {"many.data.svc.cluster.local.", mdns.TypeA}, {"_sql._tcp.db.data.svc.cluster.local.", mdns.TypeSRV},
		{"near.data.svc.CLUSTER.local.", mdns.TypeAAAA}, {"ext.data.svc.cluster.local.", mdns.TypeA}, {"10-20-0-2.data.pod.cluster.local.", mdns.TypeA},
		{"10.0.96.10.in-addr.arpa.", mdns.TypePTR}, {"example.com.default.svc.cluster.local.", mdns.TypeA}, {".", mdns.TypeNS}, {"cluster.local.", mdns.TypeAXFR}} {
		for _, edns := range []bool{false, true} {
			m := new(mdns.Msg).SetQuestion(q.name, q.kind)
			if edns {
				m.SetEdns0(100, true)
			}
			b, err := m.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b, edns)
		}
	}
	s, err := New(Config{Addr: netip.MustParseAddrPort("127.0.0.1:0"), Upstreams: []netip.AddrPort{}, Resolv: os.DevNull})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	s.Swap(cluster())
	l := newLoop(s, s.loops[0].conn)
	l.of = s.zone.Load()
	f.Fuzz(func(t *testing.T, b []byte, tcp bool) {
		r := new(mdns.Msg)
		readable := r.Unpack(b) == nil
		size, out := mdns.MaxMsgSize, []byte(nil)
		if tcp {
			if !readable {
				return
			}
			out = stream(t, s, r)
		} else {
			from := netip.MustParseAddrPort("127.0.0.1:1")
			out = l.answer(context.Background(), b, from, nil)
			if again := l.answer(context.Background(), b, from, nil); len(again) > 0 && len(again) != len(out) && !varies(out) {
				t.Fatalf("% x is answered by % x, and then by % x", b, out, again)
			}
			if len(out) == 0 {
				return
			}
			size = sizeFor(r)
		}
		checkAnswer(t, b, out, size, readable)
	})
}

// varies tells of answers with addresses in an order by chance, which compress as it happens.
func varies(out []byte) bool {
	m := new(mdns.Msg)
	return m.Unpack(out) != nil || len(m.Answer) > 1
}

func stream(t *testing.T, s *Server, r *mdns.Msg) []byte {
	w := &sink{from: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}
	s.serve(context.Background(), w, r)
	out, err := w.answer.Pack()
	if err != nil {
		t.Fatalf("the answer cannot be sent: %v\n%v\n%v", err, r, w.answer)
	}
	return out
}

func checkAnswer(t *testing.T, b, out []byte, size int, readable bool) {
	again := new(mdns.Msg)
	if err := again.Unpack(out); err != nil {
		t.Fatalf("the answer % x cannot be read: %v", out, err)
	}
	if len(out) > size || !again.Response || again.Id != uint16(b[0])<<8|uint16(b[1]) {
		t.Fatalf("% x is answered by %d bytes where %d are the limit\n%v", b, len(out), size, again)
	}
	if !readable {
		if again.Rcode != mdns.RcodeFormatError {
			t.Fatalf("% x is answered by %v", b, again)
		}
		return
	}
	asked := new(mdns.Msg)
	if err := asked.Unpack(b); err != nil {
		t.Fatal(err)
	}
	if len(again.Question) > 0 && (len(asked.Question) == 0 || again.Question[0] != asked.Question[0]) {
		t.Fatalf("the answer is to %v, not to %v", again.Question, asked.Question)
	}
}
