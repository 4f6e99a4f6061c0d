package netproxy

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func drawService(t *rapid.T) (*Service, *Port) {
	s := &Service{
		InternalLocal: rapid.Bool().Draw(t, "internalLocal"), ExternalLocal: rapid.Bool().Draw(t, "externalLocal"),
		PublishNotReady: rapid.Bool().Draw(t, "publishNotReady"),
	}
	p := &Port{}
	for i := range rapid.IntRange(0, 6).Draw(t, "endpoints") {
		p.Endpoints = append(p.Endpoints, Endpoint{
			Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 20, 0, byte(i + 1)}), 80),
			Node:    rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "node"),
			Ready:   rapid.Bool().Draw(t, "ready"), Serving: rapid.Bool().Draw(t, "serving"),
			Terminating: rapid.Bool().Draw(t, "terminating"),
		})
	}
	return s, p
}

// The eligible endpoints are all the ready ones within reach, or, if there is none, all that serve while they terminate.
func TestEligible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, p := drawService(t)
		sc := rapid.SampledFrom([]scope{internal, external}).Draw(t, "scope")
		local := map[scope]bool{internal: s.InternalLocal, external: s.ExternalLocal}[sc]
		chosen := map[netip.AddrPort]bool{}
		for _, e := range eligible(s, p, "n1", sc) {
			chosen[e.Address] = true
		}
		ready := func(e Endpoint) bool { return e.Ready || s.PublishNotReady }
		anyReady := false
		for _, e := range p.Endpoints {
			anyReady = anyReady || ready(e) && (!local || e.Node == "n1")
		}
		for _, e := range p.Endpoints {
			want := ready(e)
			if !anyReady {
				want = e.Serving && e.Terminating
			}
			if want = want && (!local || e.Node == "n1"); chosen[e.Address] != want {
				t.Fatalf("%+v: chosen %v, want %v", e, chosen[e.Address], want)
			}
		}
	})
}

// A choice is of the set and not tried yet; it is nil only if all were tried, and unhealthy only if nothing
// healthy was left.
func TestChoose(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const now = 100
		var set, tried []*backend
		left, healthy := 0, 0
		for range rapid.IntRange(0, 6).Draw(t, "size") {
			b := &backend{}
			b.active.Store(rapid.Int64Range(0, 3).Draw(t, "active"))
			b.avoid.Store(rapid.SampledFrom([]int64{0, 200}).Draw(t, "avoid"))
			set = append(set, b)
			if rapid.Bool().Draw(t, "tried") {
				tried = append(tried, b)
				continue
			}
			left++
			if b.healthy(now) {
				healthy++
			}
		}
		got := choose(set, tried, now)
		switch {
		case (got == nil) != (left == 0):
			t.Fatalf("got %v with %d left", got, left)
		case got == nil:
		case !contains(set, got) || contains(tried, got):
			t.Fatal("not of the set, or tried already")
		case healthy > 0 && !got.healthy(now):
			t.Fatal("an endpoint that failed lately, though others were left")
		}
	})
}

// A table's endpoints are the only ones that a target hands out, whatever tables came before, affinity or not; and what is
// no longer handed out in any scope is marked gone.
func TestTargetFollowsTables(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		target := newTarget(TargetName{}, 1, &gate{})
		for range rapid.IntRange(1, 5).Draw(t, "tables") {
			before := target.set.Load()
			s, p := drawService(t)
			s.AffinityTimeout = rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(t, "affinity")
			target.update(s, p, "n1")
			allowed := [scopes]map[netip.AddrPort]bool{{}, {}}
			for sc := range scopes {
				for _, e := range eligible(s, p, "n1", sc) {
					allowed[sc][e.Address] = true
				}
			}
			for i := range 8 {
				sc := scope(i % 2)
				client := netip.AddrFrom4([4]byte{10, 9, 0, byte(i % 3)})
				b := target.choose(sc, client, nil, 1)
				if (b == nil) != (len(allowed[sc]) == 0) || b != nil && (!allowed[sc][b.addr] || b.gone.Load()) {
					t.Fatalf("chose %+v of %v", b, allowed[sc])
				}
			}
			for _, list := range before.by {
				for _, b := range list {
					if b.gone.Load() == (allowed[internal][b.addr] || allowed[external][b.addr]) {
						t.Fatalf("%v: gone is %v", b.addr, b.gone.Load())
					}
				}
			}
		}
	})
}
