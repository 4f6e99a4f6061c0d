package dns

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"
)

// FuzzPlain, Invariant 110: whatever is taken for a plain question is one to the library too, with the same name, type, class and size.
func FuzzPlain(f *testing.F) {
	for _, name := range []string{"web.default.svc.cluster.local.", "WEB.Default.svc.cluster.local.", ".", `a\.b\000.example.`} {
		m := new(mdns.Msg).SetQuestion(name, mdns.TypeA)
		for range 2 {
			b, err := m.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
			m.SetEdns0(4096, true)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := readPlain(b, nil)
		if !ok {
			return
		}
		r := new(mdns.Msg)
		if err := r.Unpack(b); err != nil {
			t.Fatalf("% x cannot be read: %v", b, err)
		}
		if refusal(r) != mdns.RcodeSuccess && r.Question[0].Qclass == mdns.ClassINET && r.Question[0].Qtype != mdns.TypeAXFR && r.Question[0].Qtype != mdns.TypeIXFR {
			t.Fatalf("% x is refused", b)
		}
		if sizeFor(r) != p.size {
			t.Fatalf("size %d, not %d", p.size, sizeFor(r))
		}
		r.Question[0].Name = strings.ToLower(r.Question[0].Name)
		lower, err := (&mdns.Msg{Question: r.Question}).Pack()
		if err != nil || !bytes.Equal(lower[headerBytes:], p.key[:len(p.key)-1]) {
			t.Fatalf("key % x of % x (%v)", p.key, lower[headerBytes:], err)
		}
	})
}

// Invariant 110. Every spelling of a name is answered in its own spelling and to its own number, the second time from what was packed the first.
func TestSpellingIsKept(t *testing.T) {
	s := serve(t)
	for i := range 40 {
		name := spell("_http._tcp.web.default.svc.cluster.local.")
		r := ask(t, s, "udp", name, mdns.TypeSRV)
		if r.Question[0].Name != name || len(r.Answer) != 1 || r.Answer[0].Header().Name != name {
			t.Fatalf("question %d, %s, is answered by %v", i, name, r)
		}
		if !strings.EqualFold(r.Answer[0].(*mdns.SRV).Target, "web.default.svc.cluster.local.") || len(r.Extra) != 2 {
			t.Fatalf("%v", r)
		}
	}
	if n := s.Answers()[Answer{"SRV", "NOERROR"}]; n != 40 {
		t.Errorf("%d answers are counted", n)
	}
}

func spell(name string) string {
	return strings.Map(func(c rune) rune {
		if rand.IntN(2) == 0 {
			return c
		}
		return []rune(strings.ToUpper(string(c)))[0]
	}, name)
}

// What was packed is as the question wants it: with its flags, with EDNS or without, and only where it fits.
func TestPackedAnswersFollowTheQuestion(t *testing.T) {
	s := serve(t)
	s.Swap(cluster())
	for range 2 {
		for _, c := range []struct{ recurse, noCheck, edns, secure bool }{{}, {recurse: true}, {noCheck: true}, {edns: true}, {recurse: true, edns: true, secure: true}} {
			m := new(mdns.Msg).SetQuestion("web.default.svc.cluster.local.", mdns.TypeA)
			m.RecursionDesired, m.CheckingDisabled = c.recurse, c.noCheck
			if c.edns {
				m.SetEdns0(1400, c.secure)
			}
			r, _, err := new(mdns.Client).Exchange(m, s.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			opt := r.IsEdns0()
			if r.RecursionDesired != c.recurse || r.CheckingDisabled != c.noCheck || (opt != nil) != c.edns || opt != nil && opt.Do() != c.secure ||
				brief(r) != "NOERROR: 10.96.0.10" || !r.Authoritative || !r.RecursionAvailable {
				t.Errorf("%+v is answered by %v", c, r)
			}
		}
	}
}

// Invariant 110. A new table is seen by the next question, whatever was packed before.
func TestSwapForgetsWhatWasPacked(t *testing.T) {
	s := serve(t)
	const name = "web.default.svc.cluster.local."
	for range 2 {
		if got := brief(ask(t, s, "udp", name, mdns.TypeA)); got != "NOERROR: 10.96.0.10" {
			t.Fatal(got)
		}
	}
	next := cluster()
	next.Services[0].VIPs[0] = addr("10.96.0.11")
	s.Swap(next)
	if got := brief(ask(t, s, "udp", name, mdns.TypeA)); got != "NOERROR: 10.96.0.11" {
		t.Error(got)
	}
}

// A loop keeps no more answers than it may, however many names are asked for.
func TestPackedIsBounded(t *testing.T) {
	l := &loop{packed: map[string][]byte{}}
	for i := range 3 * packedMax {
		l.remember([]byte{byte(i), byte(i >> 8)}, nil)
		if len(l.packed) > packedMax {
			t.Fatal(len(l.packed))
		}
	}
}

// An answer that is remembered is given without an allocation, from the kernel's question to the kernel's answer, in full batches and in small ones.
func TestAnswersAllocateNothing(t *testing.T) {
	w := newExchange(t)
	for _, n := range []int{1, datagramBatch, 2*datagramBatch + 1} {
		if got := testing.AllocsPerRun(20, func() {
			w.ask(t, n)
			w.answer(t, n)
			w.read(t, n)
		}); got > 0 {
			t.Errorf("%v allocations for %d answers", got, n)
		}
	}
}
