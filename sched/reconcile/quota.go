package reconcile

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"
)

// quotaLeakAfter is how long something may be taken from a quota without an object that needs it: longer than any request lasts. After
// that nobody will need it.
const quotaLeakAfter = 75 * time.Second

// stock is what the engine knows of a quota beside its status.
type stock struct {
	inventory
	// owed is what the last write gave back, if it failed.
	owed   corev1.ResourceList
	failed bool
	// floor is the least that was taken without an object since a time.
	floor corev1.ResourceList
	since time.Time
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
	before, told := e.stock(o), quotav1.Equals(q.Status.Hard, q.Spec.Hard)
	s, owed := before, corev1.ResourceList(nil)
	if before != nil && equality.Semantic.DeepEqual(before.spec, q.Spec) {
		owed = e.catchUp(&s.inventory, q)
		if before.failed {
			owed = quotav1.Add(owed, before.owed)
		}
	} else {
		s = &stock{inventory: e.takeStock(q)}
		if before != nil {
			s.floor, s.since = before.floor, before.since
		}
	}
	used := s.need
	if told && (s == before || before == nil) { // a new leader does not know what is under way
		used = quotav1.SubtractWithNonNegativeResult(quotav1.Mask(q.Status.Used, quotav1.ResourceNames(q.Spec.Hard)), owed)
		used = quotav1.Max(used, s.need)
	}
	s.owed, s.failed = owed, false
	used = e.giveLeakBack(o, s, used)
	e.setStock(o, s)
	if quotav1.Equals(used, q.Status.Used) && told {
		return
	}
	next := q.DeepCopy()
	next.Status = corev1.ResourceQuotaStatus{Hard: q.Spec.Hard.DeepCopy(), Used: used.DeepCopy()}
	e.put(Quotas, next, o.rev)
}

// giveLeakBack takes off what has been too much all the time since the last look.
func (e *Engine) giveLeakBack(o *object, s *stock, used corev1.ResourceList) corev1.ResourceList {
	excess := quotav1.Subtract(used, s.need)
	if s.since.IsZero() {
		s.floor, s.since = excess, e.now
	} else {
		s.floor = least(s.floor, excess)
	}
	if quotav1.IsZero(excess) {
		s.floor, s.since = nil, time.Time{}
		return used
	}
	if e.now.Sub(s.since) >= quotaLeakAfter {
		used = quotav1.Subtract(used, s.floor)
		s.floor, s.since = quotav1.Subtract(used, s.need), e.now
	}
	e.wake(key{area: areaQuota, ns: o.ns}, s.since.Add(quotaLeakAfter))
	return used
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
		e.markQuotas(r)
	}
}

// markQuotas marks the namespace of an object that has changed, if it has quotas.
func (e *Engine) markQuotas(r ref) {
	for _, s := range e.stocks[r.ns] {
		s.changes(r)
	}
	if s := e.spaces[r.ns]; s != nil && (len(s.objects[Quotas]) > 0 || len(e.stocks[r.ns]) > 0) {
		e.mark(key{area: areaQuota, ns: r.ns})
	}
}
