package reconcile

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api"
)

// Herds have the pods that sets would, also of pods that name several owners, some of them twice.
func TestHerdsAreSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		herds, want := map[types.UID]*herd{}, map[types.UID]map[*pod]bool{}
		for _, uid := range []types.UID{"a", "b", "c"} {
			herds[uid], want[uid] = &herd{}, map[*pod]bool{}
		}
		var in, out []*pod
		for range rapid.IntRange(1, 8).Draw(t, "pods") {
			owned := &corev1.Pod{}
			for range rapid.IntRange(1, 4).Draw(t, "owners") {
				owned.OwnerReferences = append(owned.OwnerReferences, metav1.OwnerReference{UID: rapid.SampledFrom([]types.UID{"a", "b", "c"}).Draw(t, "owner")})
			}
			out = append(out, &pod{rec: &api.PodRecord{Template: &api.PodTemplate{Pod: owned}}})
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			from, to := &out, &in
			if rapid.Bool().Draw(t, "drop") {
				from, to = to, from
			}
			if len(*from) == 0 {
				continue
			}
			i := rapid.IntRange(0, len(*from)-1).Draw(t, "pod")
			p := (*from)[i]
			*from, *to = slices.Delete(*from, i, i+1), append(*to, p)
			for seat, uid := range p.owners {
				if to == &in {
					herds[uid].add(p, seat)
					want[uid][p] = true
				} else {
					herds[uid].drop(p, seat)
					delete(want[uid], p)
				}
			}
			for uid, h := range herds {
				if len(*h) != len(want[uid]) || slices.ContainsFunc(*h, func(p *pod) bool { return !want[uid][p] }) {
					t.Fatalf("herd %s has %d pods, want %d, or others", uid, len(*h), len(want[uid]))
				}
			}
		}
	})
}
