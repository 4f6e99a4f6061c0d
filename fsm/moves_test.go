package fsm

import (
	"slices"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// Invariant 123: a node hears of other nodes' pods exactly while there are network policies, and only where they are and what they are called.
func TestTailTellsWherePodsAre(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := New()
		_, all := f.TailAll(func(*api.Change) bool { return true })
		defer all.Close()
		_, _, tail := f.TailNodes(Following{Nodes: []string{"n1"}, Moves: true, Also: func(*api.Change) bool { return false }})
		defer tail.Close()
		for i, list := range history(t) {
			p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}}
			switch rapid.IntRange(0, 3).Draw(t, "policy") {
			case 0:
				list = append(list, &ops.Put{Resource: Policies, Object: p, Expect: ops.Any})
			case 1:
				list = append(list, &ops.Delete{Resource: Policies, Namespace: "default", Name: "p", Expect: ops.Any})
			}
			f.ApplyOps(uint64(i+1), list)
		}
		changes, err := all.Take()
		if err != nil {
			t.Fatal(err)
		}
		policed := false
		want := slices.DeleteFunc(changes, func(c *api.Change) bool {
			if c.Resource == Policies {
				policed = !c.Deleted()
			}
			own := nodeOf(c.OldPod) == "n1" || nodeOf(c.NewPod) == "n1"
			return c.Resource != Pods || !own && !(policed && tellsOthers(c))
		})
		got, err := tail.Take()
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("the tail has %d changes, want %d (%v)", len(got), len(want), err)
		}
	})
}

// tellsOthers compares what a pod is to the others before and after a change.
func tellsOthers(c *api.Change) bool {
	type place struct {
		address string
		app     string
	}
	of := func(r *api.PodRecord) (p place) {
		if r != nil && !r.Terminal() && r.Pod().Status.PodIP != "" {
			p = place{r.Pod().Status.PodIP, r.Labels()["app"]}
		}
		return p
	}
	return of(c.OldPod) != of(c.NewPod)
}
