package fsm

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// Invariant 6: a row that names a UID changes only the pod of that UID, however often its name went to another pod meanwhile.
func TestRowsOfAUID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := New()
		for i, list := range history(t) {
			f.ApplyOps(uint64(2*i+1), list)
			meant := rapid.SampledFrom(append(uidsOf(f), uid(999_999))).Draw(t, "uid")
			name := "web-" + rapid.SampledFrom([]string{"x1", "x2", "x3", "x4"}).Draw(t, "suffix")
			before := podsByName(f)
			outcome := f.ApplyOps(uint64(2*i+2), []ops.Op{rowFor(t, name, meant)})
			for name, old := range before {
				if now := podsByName(f)[name]; now != old && old.UID != meant {
					t.Fatalf("a row of %s changed %s of %s (%v)", meant, name, old.UID, outcome)
				}
			}
		}
	})
}

// rowFor is any op that has rows of pods.
func rowFor(t *rapid.T, name string, u types.UID) ops.Op {
	switch rapid.IntRange(0, 3).Draw(t, "row") {
	case 0:
		return &ops.BindPods{Now: 1, Rows: []ops.BindRow{{Namespace: "default", Name: name, UID: u, Node: "n2"}}}
	case 1:
		b, _ := (&corev1.PodStatus{Phase: corev1.PodFailed, Message: "drawn"}).Marshal()
		return &ops.PodStatuses{Rows: []ops.StatusRow{{Namespace: "default", Name: name, UID: u, Status: b}}}
	case 2:
		return &ops.Delete{Resource: Pods, Namespace: "default", Name: name, UID: u, Expect: ops.Exists}
	}
	return &ops.DeletePods{Now: 1, Rows: []ops.DeleteRow{{Namespace: "default", Name: name, UID: u, Grace: rapid.Int64Range(-1, 3).Draw(t, "grace")}}}
}

func podsByName(f *FSM) map[string]*api.PodRecord {
	out := map[string]*api.PodRecord{}
	f.table(Pods).items.Ascend(func(it item) bool {
		out[it.pod.Name] = it.pod
		return true
	})
	return out
}

func uidsOf(f *FSM) []types.UID {
	var out []types.UID
	for _, p := range podsByName(f) {
		out = append(out, p.UID)
	}
	slices.Sort(out)
	return out
}
