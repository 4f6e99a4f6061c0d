package fence

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Unix(1_000_000, 0)

// Whatever the clocks do within the bound, and whenever the answers come: when the leader is told that the last lease has ended,
// it has, on the node's own clock, and the time to kill is over too. Invariant 87.
func TestLeaderWaitsForTheLastLease(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		times := Times{Lease: time.Duration(rapid.Int64Range(int64(LeaseMin), int64(time.Hour)).Draw(t, "lease")),
			Margin: time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "margin")), DriftParts: rapid.Int64Range(100, 100000).Draw(t, "drift")}
		rate := func(name string) float64 {
			return 1 + rapid.Float64Range(-1, 1).Draw(t, name)/float64(times.DriftParts)
		}
		node, leader := rate("node"), rate("leader")
		at := func(real float64) time.Time { return start.Add(time.Duration(real * leader)) }
		leases := NewLeases(times, at(0))
		leases.Allow("n")
		var lease Lease
		real := 0.0
		for range rapid.IntRange(0, 20).Draw(t, "questions") {
			real += rapid.Float64Range(0, float64(times.Lease)).Draw(t, "pause")
			asked := time.Duration(real * node)
			arrives := real + rapid.Float64Range(0, float64(time.Second)).Draw(t, "delay")
			if leases.Grant("n", at(arrives)) && rapid.Bool().Draw(t, "heard") {
				lease.Renew(asked, times.Lease)
			}
		}
		ended := leases.Bar("n")
		if leases.Grant("n", ended) || leases.Allowed("n") {
			t.Fatal("a barred node has a lease")
		}
		realEnd := float64(ended.Sub(start)) / leader
		if now := time.Duration((realEnd - float64(times.Margin)) * node); lease.Valid(now) && lease.Until() > 0 {
			t.Fatalf("the leader goes on at %v, the lease lasts until %v on the node's clock, which says %v", ended, lease.Until(), now)
		}
	})
}

func TestStandings(t *testing.T) {
	l := NewLeases(Default(), start)
	if l.Grant("n", start) || l.Allowed("n") {
		t.Error("a node that the term does not know has a lease")
	}
	l.Allow("n")
	if !l.Grant("n", start.Add(time.Second)) || !l.Grant("n", start) {
		t.Error("an allowed node has no lease")
	}
	want := start.Add(time.Second + Default().Wait())
	if got := l.Bar("n"); !got.Equal(want) {
		t.Errorf("its last lease ends at %v, want %v", got, want)
	}
	if got := l.Bar("other"); !got.Equal(start.Add(Default().Wait())) {
		t.Errorf("of a node that never asked this term the last lease ends at %v", got)
	}
	l.Allow("n")
	if !l.Grant("n", start.Add(time.Minute)) {
		t.Error("it does not come back")
	}
	off := NewLeases(Times{DriftParts: 2}, start)
	off.Allow("n")
	if off.Grant("n", start) {
		t.Error("a cluster without fencing gives leases")
	}
	if w := Default().Wait(); w < 10*time.Second || w > 10100*time.Millisecond {
		t.Errorf("the default wait is %v", w)
	}
}

// A pod runs only under a lease that its guard came with, and one that was stopped does not run again by itself. Invariant 85.
func TestGuards(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, now := NewGuards(), time.Duration(0)
		stopped := map[string]bool{"a": true, "b": true}
		until := time.Duration(0)
		kill := func(pods []string) {
			for _, p := range pods {
				if stopped[p] {
					t.Fatalf("%s is killed twice", p)
				}
				stopped[p] = true
			}
		}
		for range 50 {
			now += time.Duration(rapid.IntRange(0, 5).Draw(t, "pass"))
			to, pod := now+time.Duration(rapid.IntRange(-5, 10).Draw(t, "until")), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "pod")
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				kill(g.Expire(now))
			case 1:
				kill(g.Extend(to, now))
				until = max(until, to)
			case 2:
				ok, dead := g.Guard(pod, to, now)
				kill(dead)
				until = max(until, to)
				if stopped[pod] = !ok; ok != (to > now) {
					t.Fatalf("guarding until %v at %v gave %v", to, now, ok)
				}
			case 3:
				g.Drop(pod)
				stopped[pod] = true
			}
			for p, not := range stopped {
				if may := g.MayStart(p, now); may && (not || now >= until) {
					t.Fatalf("%s may start at %v: stopped %v, until %v", p, now, not, until)
				}
			}
		}
	})
}

func TestCheck(t *testing.T) {
	for d, ok := range map[time.Duration]bool{0: true, time.Second: false, LeaseMin: true, time.Hour: true} {
		if err := (Times{Lease: d}).Check(); (err == nil) != ok {
			t.Errorf("%v: %v", d, err)
		}
	}
}
