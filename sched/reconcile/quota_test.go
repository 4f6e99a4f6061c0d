package reconcile

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api/ops"
)

func (w *world) addQuota(hard string) {
	w.put(Quotas, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "q", UID: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/configmaps": resource.MustParse(hard)}}})
	w.settle()
}

// used is how many config maps the quota says there are.
func (w *world) used() int64 {
	q := w.objects[ref{Quotas, "default", "q"}].obj.(*corev1.ResourceQuota)
	n := q.Status.Used["count/configmaps"]
	return n.Value()
}

// take is admission: it takes one from the quota as the local state has it, if there is one.
func (w *world) take() bool {
	o := w.objects[ref{Quotas, "default", "q"}]
	q := o.obj.(*corev1.ResourceQuota).DeepCopy()
	used, hard := q.Status.Used["count/configmaps"], q.Status.Hard["count/configmaps"]
	if used.Value() >= hard.Value() {
		return false
	}
	q.Status.Used["count/configmaps"] = *resource.NewQuantity(used.Value()+1, resource.DecimalSI)
	return w.setObject(&ops.Put{Resource: Quotas, Object: q, Expect: o.rev}) == ops.Applied
}

func (w *world) addMap(n int) {
	w.put(ConfigMaps, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("m", n), UID: types.UID(fmt.Sprint("m", n))}})
}

func (w *world) dropMap(n int) {
	w.deleteObject(&ops.Delete{Resource: ConfigMaps, Namespace: "default", Name: fmt.Sprint("m", n), Expect: ops.Any})
}

// TestQuotasNeverGiveMoreThanThereIs (Invariant 130): whatever is created, deleted and given up meanwhile, and whatever writes are lost, there are never
// more objects than the quota allows, and when all is quiet it says exactly how many there are.
func TestQuotasNeverGiveMoreThanThereIs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt, 1)
		w.put(Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}}})
		w.settle()
		base := int64(0)
		for r := range w.objects {
			if r.gr == ConfigMaps && r.ns == "default" {
				base++
			}
		}
		const free = 5
		w.addQuota(fmt.Sprint(base + free))
		made, underway, next := []int{}, 0, 0
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"take", "take", "land", "land", "drop", "give up", "step", "lose", "wait"}).Draw(rt, "what") {
			case "take":
				if w.take() {
					underway++
				}
			case "land":
				if underway > 0 {
					underway--
					w.addMap(next)
					made = append(made, next)
					next++
				}
			case "drop":
				if len(made) > 0 {
					w.dropMap(made[0])
					made = made[1:]
				}
			case "give up":
				underway = max(underway-1, 0)
			case "step":
				w.settle()
			case "lose":
				lost := false
				w.lose = func(op ops.Op) bool {
					p, ok := op.(*ops.Put)
					now := ok && p.Resource == Quotas && !lost
					lost = lost || now
					return now
				}
				w.settle()
				w.lose = nil
			case "wait":
				underway = 0 // no request lasts so long
				w.now = w.now.Add(2 * quotaLeakAfter)
				w.settle()
			}
			q := w.objects[ref{Quotas, "default", "q"}]
			if s := w.e.stock(q); s != nil && len(s.changed) == 0 {
				if all := w.e.takeStock(q.obj.(*corev1.ResourceQuota)); !quotav1.Equals(all.need, s.need) || len(all.items) != len(s.items) {
					rt.Fatalf("followed to %v of %d objects, counted %v of %d", s.need, len(s.items), all.need, len(all.items))
				}
			}
			if len(made)+underway > free {
				rt.Fatalf("%d objects and %d under way, of %d", len(made), underway, free)
			}
		}
		for range 3 {
			w.now = w.now.Add(2 * quotaLeakAfter)
			w.settle()
		}
		if w.used() != base+int64(len(made)) {
			rt.Fatalf("the quota says %d are used, and there are %d", w.used(), base+int64(len(made)))
		}
	})
}

// TestQuotasCountCustomResources: those that were there before the quota, that come and that go, in its namespace.
func TestQuotasCountCustomResources(t *testing.T) {
	w := newWorld(t, 1)
	w.put(Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}}})
	w.put(Definitions, widgetDefinition())
	elsewhere := testWidget("elsewhere")
	elsewhere.Namespace = "other"
	w.put(widgets, testWidget("a"))
	w.put(widgets, testWidget("b"))
	w.put(widgets, elsewhere)
	const name = "count/widgets.shop.example"
	w.put(Quotas, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "q", UID: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{name: resource.MustParse("9")}}})
	want := func(when string, n int64) {
		t.Helper()
		w.settle()
		used := w.objects[ref{Quotas, "default", "q"}].obj.(*corev1.ResourceQuota).Status.Used[name]
		if used.Value() != n {
			t.Errorf("%s: %d are used instead of %d", when, used.Value(), n)
		}
	}
	want("those that were there", 2)
	w.put(widgets, testWidget("c"))
	want("one more", 3)
	w.deleteObject(&ops.Delete{Resource: widgets, Namespace: "default", Name: "a", Expect: ops.Any})
	want("one less", 2)
}
