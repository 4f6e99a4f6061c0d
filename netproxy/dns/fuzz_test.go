package dns

import (
	"context"
	"net"
	"net/netip"
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
	s, err := New(Config{Addr: netip.MustParseAddrPort("127.0.0.1:0"), Upstreams: []netip.AddrPort{}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	s.Swap(cluster())
	f.Fuzz(func(t *testing.T, b []byte, tcp bool) {
		r := new(mdns.Msg)
		if r.Unpack(b) != nil {
			return
		}
		w := &sink{from: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}}
		size := udpSizeMin
		if opt := r.IsEdns0(); opt != nil {
			size = int(min(max(opt.UDPSize(), udpSizeMin), udpSizeMax))
		}
		if tcp {
			w.from, size = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, mdns.MaxMsgSize
		}
		question := append([]mdns.Question{}, r.Question...)
		s.serve(context.Background(), w, r)
		out, err := w.answer.Pack()
		if err != nil {
			t.Fatalf("the answer cannot be sent: %v\n%v\n%v", err, r, w.answer)
		}
		again := new(mdns.Msg)
		if err := again.Unpack(out); err != nil {
			t.Fatalf("the answer cannot be read: %v\n%v", err, w.answer)
		}
		if len(out) > size || again.Id != r.Id || !again.Response {
			t.Fatalf("an answer of %d bytes where %d are the limit\n%v\n%v", len(out), size, r, again)
		}
		if len(again.Question) > 0 && (len(question) == 0 || again.Question[0] != question[0]) {
			t.Fatalf("the answer is to %v, not to %v", again.Question, question)
		}
	})
}
