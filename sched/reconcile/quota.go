package reconcile

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/quota"
)

// quotaLeakAfter is how long something may be taken from a quota without an object that needs it: longer than any request lasts. After
// that nobody will need it.
const quotaLeakAfter = 75 * time.Second

// stock is what the engine knows of a quota beside its status.
type stock struct {
	hard  corev1.ResourceList
	items map[item]corev1.ResourceList // what each object takes
	// owed is what the last write gave back, if it failed.
	owed   corev1.ResourceList
	failed bool
	// floor is the least that was taken without an object since a time.
	floor corev1.ResourceList
	since time.Time
}

// item is an object, and not another one of its name.
type item struct {
	ref
	uid types.UID
}

// syncQuotas writes what a namespace's quotas have used. Admission takes from a quota before the object is there, so what is used is not
// what the objects need: it falls by what an object that goes gives back, and rises to what the objects need if that is more. What was taken
// for an object that never came is given back when it has been too much for longer than any request lasts.
func (e *Engine) syncQuotas(k key) {
	for _, o := range e.list(k.ns, Quotas) {
		if q := o.obj.(*corev1.ResourceQuota); q.DeletionTimestamp == nil && !e.written[o.ref] {
			e.syncQuota(o, q)
		}
	}
	if s := e.spaces[k.ns]; s == nil || len(s.objects[Quotas]) == 0 {
		delete(e.stocks, k.ns)
	}
}

func (e *Engine) syncQuota(o *object, q *corev1.ResourceQuota) {
	names := quotav1.ResourceNames(q.Spec.Hard)
	items := e.takenFrom(q)
	need := zeros(names)
	for _, taken := range items {
		need = quotav1.Add(need, taken)
	}
	before := e.stock(o)
	used, owed := need, corev1.ResourceList(nil)
	if before != nil && quotav1.Equals(q.Status.Hard, q.Spec.Hard) && quotav1.Equals(before.hard, q.Spec.Hard) {
		owed = givenBack(before.items, items)
		if before.failed {
			owed = quotav1.Add(owed, before.owed)
		}
		used = quotav1.SubtractWithNonNegativeResult(quotav1.Mask(q.Status.Used, names), owed)
		used = quotav1.Max(used, need)
	} else if before == nil && quotav1.Equals(q.Status.Hard, q.Spec.Hard) {
		used = quotav1.Max(quotav1.Mask(q.Status.Used, names), need) // a new leader does not know what is under way
	}
	s := &stock{hard: q.Spec.Hard, items: items, owed: owed}
	used = e.giveLeakBack(o, before, s, used, need)
	e.setStock(o, s)
	if quotav1.Equals(used, q.Status.Used) && quotav1.Equals(q.Status.Hard, q.Spec.Hard) {
		return
	}
	next := q.DeepCopy()
	next.Status = corev1.ResourceQuotaStatus{Hard: q.Spec.Hard.DeepCopy(), Used: used}
	e.put(Quotas, next, o.rev)
}

// giveLeakBack takes off what has been too much all the time since the last look.
func (e *Engine) giveLeakBack(o *object, before, s *stock, used, need corev1.ResourceList) corev1.ResourceList {
	excess := quotav1.Subtract(used, need)
	if before == nil || before.since.IsZero() {
		s.floor, s.since = excess, e.now
	} else {
		s.floor, s.since = least(before.floor, excess), before.since
	}
	if quotav1.IsZero(excess) {
		s.floor, s.since = nil, time.Time{}
		return used
	}
	if e.now.Sub(s.since) >= quotaLeakAfter {
		used = quotav1.Subtract(used, s.floor)
		s.floor, s.since = quotav1.Subtract(used, need), e.now
	}
	e.wake(key{area: areaQuota, ns: o.ns}, s.since.Add(quotaLeakAfter))
	return used
}

// takenFrom is what each object of the namespace takes.
func (e *Engine) takenFrom(q *corev1.ResourceQuota) map[item]corev1.ResourceList {
	out := map[item]corev1.ResourceList{}
	s := e.space(q.Namespace)
	add := func(i item, o runtime.Object) {
		if taken := quota.Used(q, i.gr, o); len(taken) > 0 {
			out[i] = taken
		}
	}
	for _, gr := range e.countedBy(q) {
		if gr == Pods {
			for _, p := range s.pods {
				add(item{ref{Pods, p.ns(), p.name()}, p.rec.UID}, p.rec.Pod())
			}
			continue
		}
		for _, o := range s.objects[gr] {
			add(item{o.ref, o.meta.GetUID()}, o.obj)
		}
	}
	return out
}

// countedBy are the kinds of which a quota counts anything.
func (e *Engine) countedBy(q *corev1.ResourceQuota) (out []schema.GroupResource) {
	names := quotav1.ResourceNames(q.Spec.Hard)
	for _, k := range api.Kinds() {
		if v := quota.Registry().Get(k.GroupResource()); v != nil && len(v.MatchingResources(names)) > 0 {
			out = append(out, k.GroupResource())
		}
	}
	return out
}

// givenBack is what objects that are gone, or need less, no longer take.
func givenBack(before, now map[item]corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for r, was := range before {
		out = quotav1.Add(out, quotav1.SubtractWithNonNegativeResult(was, now[r]))
	}
	return out
}

// least is the smaller of two lists, name by name; what one does not name is none.
func least(a, b corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, x := range a {
		if y, ok := b[name]; ok {
			if y.Cmp(x) < 0 {
				x = y
			}
			out[name] = x
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

func (e *Engine) stock(o *object) *stock { return e.stocks[o.ns][o.meta.GetUID()] }

func (e *Engine) setStock(o *object, s *stock) {
	if e.stocks[o.ns] == nil {
		e.stocks[o.ns] = map[types.UID]*stock{}
	}
	e.stocks[o.ns][o.meta.GetUID()] = s
	known := map[types.UID]bool{}
	for _, q := range e.list(o.ns, Quotas) {
		known[q.meta.GetUID()] = true
	}
	maps.DeleteFunc(e.stocks[o.ns], func(uid types.UID, _ *stock) bool { return !known[uid] })
}

// gaveBack says whether there is more to take from a quota than before.
func gaveBack(old, o *object) bool {
	if old == nil || o == nil {
		return o == nil
	}
	before, now := old.obj.(*corev1.ResourceQuota).Status, o.obj.(*corev1.ResourceQuota).Status
	less, _ := quotav1.LessThanOrEqual(before.Used, now.Used)
	same, _ := quotav1.LessThanOrEqual(now.Hard, before.Hard)
	return !less || !same
}

// failedQuota keeps what a write that did not apply would have given back.
func (e *Engine) failedQuota(r ref) {
	if o := e.objects[r]; o != nil {
		if s := e.stock(o); s != nil {
			s.failed = true
		}
		e.markQuotas(r.ns)
	}
}

// markQuotas marks a namespace that has quotas.
func (e *Engine) markQuotas(ns string) {
	if s := e.spaces[ns]; s != nil && (len(s.objects[Quotas]) > 0 || len(e.stocks[ns]) > 0) {
		e.mark(key{area: areaQuota, ns: ns})
	}
}
