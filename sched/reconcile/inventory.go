package reconcile

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/quota"
)

// inventory is what the objects of a quota's namespace take of it. It is counted once; after that only what changes is looked at, since
// every creation in a namespace with a quota changes one object of maybe many thousand.
type inventory struct {
	spec    corev1.ResourceQuotaSpec // that it was counted for
	counts  map[schema.GroupResource]bool
	items   map[ref]taken
	need    corev1.ResourceList // the sum of items
	changed map[ref]struct{}    // what has changed since
	last    corev1.ResourceList // what the object took that was looked at last: the next one often takes the same
}

// taken is what an object takes. Objects that take the same share the list, so it must not be changed.
type taken struct {
	uid  types.UID // an object of the same name may be another one
	list corev1.ResourceList
}

// changes notes that an object has changed, if any of its kind is counted.
func (t *inventory) changes(r ref) {
	if t.counts[r.gr] {
		t.changed[r] = struct{}{}
	}
}

// takeStock counts all.
func (e *Engine) takeStock(q *corev1.ResourceQuota) inventory {
	t := inventory{spec: *q.Spec.DeepCopy(), counts: map[schema.GroupResource]bool{}, items: map[ref]taken{}, changed: map[ref]struct{}{},
		need: zeros(quotav1.ResourceNames(q.Spec.Hard))}
	s := e.space(q.Namespace)
	for _, gr := range countedBy(q) {
		t.counts[gr] = true
		for name := range s.objects[gr] {
			t.changes(ref{gr, q.Namespace, name})
		}
	}
	if t.counts[Pods] {
		for p := range s.pods.all() {
			t.changes(ref{Pods, q.Namespace, p.name()})
		}
	}
	e.catchUp(&t, q)
	return t
}

// catchUp counts what has changed, and returns what objects that are gone, or need less, no longer take.
func (e *Engine) catchUp(t *inventory, q *corev1.ResourceQuota) (back corev1.ResourceList) {
	back = corev1.ResourceList{}
	for r := range t.changed {
		was, now := t.items[r], taken{}
		if uid, o := e.counted(r); o != nil {
			now = taken{uid, quota.Used(q, r.gr, o)}
		}
		if len(now.list) == 0 {
			delete(t.items, r)
		} else {
			if quotav1.Equals(now.list, t.last) {
				now.list = t.last
			}
			t.last, t.items[r] = now.list, now
		}
		t.need = quotav1.Add(quotav1.Subtract(t.need, was.list), now.list)
		if was.uid == now.uid {
			back = quotav1.Add(back, quotav1.SubtractWithNonNegativeResult(was.list, now.list))
		} else {
			back = quotav1.Add(back, was.list)
		}
	}
	clear(t.changed)
	return back
}

// counted is an object as quotas see it; nil if it is gone.
func (e *Engine) counted(r ref) (types.UID, runtime.Object) {
	if r.gr == Pods {
		if p := e.pod(r.ns, r.name); p != nil {
			return p.rec.UID, p.rec.Pod()
		}
	} else if o := e.objects[r]; o != nil {
		return o.meta.GetUID(), o.obj
	}
	return "", nil
}

// countedBy are the kinds of which a quota counts anything. Of kinds that are not in the table objects are counted.
func countedBy(q *corev1.ResourceQuota) (out []schema.GroupResource) {
	names := quotav1.ResourceNames(q.Spec.Hard)
	for _, k := range api.Kinds() {
		if v := quota.Registry().Get(k.GroupResource()); v != nil && len(v.MatchingResources(names)) > 0 {
			out = append(out, k.GroupResource())
		}
	}
	for _, n := range names {
		if of, ok := strings.CutPrefix(string(n), quota.CountPrefix); ok {
			if gr := schema.ParseGroupResource(of); api.KindFor(gr) == nil {
				out = append(out, gr)
			}
		}
	}
	return out
}

func zeros(names []corev1.ResourceName) corev1.ResourceList {
	out := corev1.ResourceList{}
	for _, n := range names {
		out[n] = *resource.NewQuantity(0, resource.DecimalSI)
	}
	return out
}
