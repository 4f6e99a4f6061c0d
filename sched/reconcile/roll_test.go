package reconcile

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api"
)

func podNamed(name string) *pod { return &pod{rec: &api.PodRecord{Name: name, UID: types.UID(name)}} }

// Invariant 204. A roll holds what a map holds, however it was filled and emptied, also when it is divided.
func TestRollIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, want := newRoll((*pod).name), map[string]*pod{}
		if rapid.Bool().Draw(t, "loaded") {
			n := rapid.SampledFrom([]int{1, 100, wholeRollMax + 100}).Draw(t, "at first")
			r.expect(n)
			for i := range n {
				p := podNamed(fmt.Sprint(i))
				r.enter(p, hashOf(p.name()))
				want[p.name()] = p
			}
		}
		names := rapid.SampledFrom([]int{4, 50, 2 * wholeRollMax}).Draw(t, "names")
		for range rapid.IntRange(0, 20).Draw(t, "rounds") {
			from, n := rapid.IntRange(0, names).Draw(t, "from"), rapid.IntRange(1, max(1, names/4)).Draw(t, "n")
			put := rapid.Bool().Draw(t, "put")
			for i := from; i < from+n; i++ {
				if p := podNamed(fmt.Sprint(i)); put {
					r.put(p)
					want[p.name()] = p
				} else {
					r.drop(p.name())
					delete(want, p.name())
				}
			}
			checkRoll(t, r, want, from+n)
		}
	})
}

func checkRoll(t *rapid.T, r *roll, want map[string]*pod, upTo int) {
	if r.n != len(want) {
		t.Fatalf("%d pods are said to be there, want %d", r.n, len(want))
	}
	for i := range upTo + 1 {
		if name := fmt.Sprint(i); r.get(name) != want[name] {
			t.Fatalf("pod %s is %v, want %v", name, r.get(name), want[name])
		}
	}
	seen := map[string]bool{}
	for p := range r.all() {
		if seen[p.name()] || want[p.name()] != p {
			t.Fatalf("pod %s is told twice, or is not there", p.name())
		}
		seen[p.name()] = true
	}
	if len(seen) != len(want) {
		t.Fatalf("%d pods are told of %d", len(seen), len(want))
	}
	for i := range r.parts {
		if p := &r.parts[i]; p.used > len(p.pods)*7/8 || p.n > p.used || len(p.tags) != len(p.pods) {
			t.Fatalf("part %d: %d of %d places are used, by %d pods", i, p.used, len(p.pods), p.n)
		}
	}
}
