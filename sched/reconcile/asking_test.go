package reconcile

import (
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api/ops"
)

// asks steps until the engine asks for pods, or has nothing more to do.
func (w *world) asks(t *testing.T) []Ask {
	t.Helper()
	for range 20 {
		out, _ := w.e.Step(w.now)
		asks := w.e.Asks()
		w.apply(out)
		if len(asks) > 0 {
			return asks
		}
		if len(out) == 0 {
			return nil
		}
	}
	t.Fatal("the engine does not come to rest")
	return nil
}

// TestPodsAreAskedAbout: pods that somebody wants to be asked about are not planned but asked for, once until there is an answer, and again a
// while after a refusal, or as soon as what refuses has changed.
func TestPodsAreAskedAbout(t *testing.T) {
	w := standardWorld(t, 1, 1)
	w.e.cfg.Asked = func(*corev1.Pod, Facts) bool { return true }
	w.put(ReplicaSets, testReplicaSet(2))
	asks := w.asks(t)
	if len(asks) != 1 || len(asks[0].Pods) != 2 || asks[0].Kind.Kind != "ReplicaSet" || len(w.pods) != 0 {
		t.Fatalf("asked for %v, while there are %d pods", asks, len(w.pods))
	}
	for _, p := range asks[0].Pods {
		if p.Name == "" || p.Spec.NodeName != "" || !slices.ContainsFunc(p.OwnerReferences, func(o metav1.OwnerReference) bool { return o.Kind == "ReplicaSet" }) {
			t.Errorf("the pod to ask about is %+v", p)
		}
	}
	if again := w.asks(t); again != nil {
		t.Fatalf("asked again without an answer: %v", again)
	}

	w.e.Answered(asks[0], w.now, nil, "no")
	if soon := w.asks(t); soon != nil {
		t.Fatalf("asked again at once: %v", soon)
	}
	set := w.list(ReplicaSets)[0].obj.(*appsv1.ReplicaSet)
	if len(set.Status.Conditions) != 1 || set.Status.Conditions[0].Message != "no" {
		t.Errorf("the set says %+v", set.Status.Conditions)
	}
	w.now = w.now.Add(2 * time.Second)
	if asks = w.asks(t); len(asks) != 1 {
		t.Fatal("never asked again")
	}
	w.e.Answered(asks[0], w.now, nil, "no")
	w.asks(t)
	w.put(LimitRanges, &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "l"}})
	if asks = w.asks(t); len(asks) != 1 {
		t.Fatal("not asked again when what admission reads had changed")
	}
	var names []string
	for _, p := range asks[0].Pods {
		names = append(names, p.Name)
		p.UID = types.UID(p.Name)
		w.apply([]ops.Op{&ops.Put{Resource: Pods, Object: p, Expect: ops.Absent}})
	}
	w.e.Answered(asks[0], w.now, names, "")
	if more := w.asks(t); more != nil {
		t.Errorf("asked for more than wanted: %v", more)
	}
	if len(w.pods) != 2 {
		t.Errorf("there are %d pods", len(w.pods))
	}
	for _, p := range w.pods {
		if p.Node == "" {
			t.Errorf("pod %s was not placed", p.Name)
		}
	}
}
