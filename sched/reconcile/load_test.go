package reconcile

import (
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api"
)

var _ Existing = (*world)(nil)

// Objects implements Existing.
func (w *world) Objects(yield func(*api.Change) bool) {
	for _, r := range slices.SortedFunc(maps.Keys(w.objects), compareRefs) {
		o := w.objects[r]
		if !yield(&api.Change{Revision: o.rev, Resource: r.gr, Namespace: r.ns, Name: r.name, New: o.obj}) {
			return
		}
	}
}

// Pods implements Existing.
func (w *world) Pods(yield func(*api.PodRecord) bool) {
	for _, k := range slices.SortedFunc(maps.Keys(w.pods), func(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) }) {
		if !yield(w.pods[k]) {
			return
		}
	}
}

// Counts implements Existing.
func (w *world) Counts() (objects, pods int) { return len(w.objects), len(w.pods) }

// successor is an engine that has been told which nodes are dead, and nothing else.
func (w *world) successor(seed uint64) *Engine {
	cfg := w.e.cfg
	cfg.Seed = seed
	e := New(cfg)
	for _, o := range w.list(Nodes) {
		if e.NodeUp(o.name); w.dead[o.name] {
			e.NodeDown(o.name)
		}
	}
	return e
}

// trouble leaves something behind about which a new leader has to decide on behalf of pods.
func (w *world) trouble(t *rapid.T) {
	now := metav1.NewTime(w.now)
	switch rapid.SampledFrom([]string{"none", "taint", "quota", "leaving namespace", "leaving owner", "lost owner", "lost node"}).Draw(t, "trouble") {
	case "taint":
		n := w.objects[ref{Nodes, "", "n1"}].obj.DeepCopyObject().(*corev1.Node)
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "spoilt", Effect: corev1.TaintEffectNoExecute, TimeAdded: &now})
		w.put(Nodes, n)
	case "quota":
		w.put(Quotas, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "some"}})
	case "leaving namespace":
		n := w.objects[ref{Namespaces, "", "default"}].obj.DeepCopyObject().(*corev1.Namespace)
		n.DeletionTimestamp = &now
		w.put(Namespaces, n)
	case "leaving owner":
		for _, o := range w.list(ReplicaSets) {
			c := o.obj.DeepCopyObject()
			mustMeta(c).SetDeletionTimestamp(&now)
			mustMeta(c).SetFinalizers([]string{metav1.FinalizerDeleteDependents})
			w.put(ReplicaSets, c)
		}
	case "lost owner":
		for _, o := range w.list(ReplicaSets) {
			delete(w.objects, o.ref)
		}
	case "lost node":
		delete(w.objects, ref{Nodes, "", "n2"})
	}
}

// TestLoadIsObserving: Invariant 197. An engine that has loaded the state decides what one decides that has observed it piece by piece.
func TestLoadIsObserving(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := standardWorld(t, rapid.Uint64().Draw(t, "seed"), 4)
		play(t, w)
		w.trouble(t)
		loaded, observing := w.successor(5), w.successor(5)
		loaded.Load(w)
		for c := range w.Objects {
			observing.Observe(c)
		}
		for rec := range w.Pods {
			observing.Observe(&api.Change{Revision: rec.Revision, Resource: Pods, Namespace: rec.Namespace(), Name: rec.Name, NewPod: rec})
		}
		for a := range loaded.dirty {
			if !maps.Equal(loaded.dirty[a], observing.dirty[a]) {
				t.Fatalf("area %d: loading marks %v, observing %v", a, loaded.dirty[a], observing.dirty[a])
			}
		}
		for range 2 {
			a, _ := loaded.Step(w.now)
			b, _ := observing.Step(w.now)
			if encode(t, a) != encode(t, b) {
				t.Fatalf("what was loaded leads to %v, what was observed to %v", describe(a), describe(b))
			}
		}
	})
}
