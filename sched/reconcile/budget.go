package reconcile

import (
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Budgets is the resource of PodDisruptionBudgets, whose status this controller writes.
var Budgets = schema.GroupResource{Group: "policy", Resource: "poddisruptionbudgets"}

// budget is the pods that a PodDisruptionBudget selects, counted as they change.
type budget struct {
	selector labels.Selector
	members  map[*pod]bool // whether the pod counts as healthy
	healthy  int           // members that do
	owners   map[types.UID]*ownedMembers
}

// ownedMembers is how many members one controller has; the zero reference stands for none.
type ownedMembers struct {
	controller metav1.OwnerReference
	count      int
}

// disruption is what is known of pods that are to go: the budgets, by namespace and name, and whose time on a tainted node runs.
type disruption struct {
	budgets   map[string]map[string]*budget
	sentenced map[types.UID]*pod
}

func newDisruption() disruption {
	return disruption{budgets: map[string]map[string]*budget{}, sentenced: map[types.UID]*pod{}}
}

func budgetKey(ns, name string) key { return key{area: areaBudget, ns: ns, name: name} }

// noticedBudget finds a budget's pods anew if it selects others than before.
func (e *Engine) noticedBudget(o *object, ns, name string) {
	e.mark(budgetKey(ns, name))
	if o == nil {
		delete(e.budgets[ns], name)
		if len(e.budgets[ns]) == 0 {
			delete(e.budgets, ns)
		}
		return
	}
	selector := budgetSelector(o.obj.(*policyv1.PodDisruptionBudget))
	if old := e.budgets[ns][name]; old != nil && old.selector.String() == selector.String() && old.selector.Empty() == selector.Empty() {
		return
	}
	b := &budget{selector: selector, members: map[*pod]bool{}, owners: map[types.UID]*ownedMembers{}}
	for p := range e.space(ns).pods.all() {
		if selector.Matches(labels.Set(p.rec.Labels())) {
			b.join(p)
			b.set(p, e.healthy(p))
		}
	}
	if e.budgets[ns] == nil {
		e.budgets[ns] = map[string]*budget{}
	}
	e.budgets[ns][name] = b
}

// budgetSelector is what the budget selects: an empty selector is every pod, none at all is no pod.
func budgetSelector(b *policyv1.PodDisruptionBudget) labels.Selector {
	s, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil {
		return labels.Nothing()
	}
	return s
}

// healthy says whether the pod is one of those that a budget protects: ready, and not on its way out.
func (e *Engine) healthy(p *pod) bool { return !p.deleting() && !p.rec.Terminal() && e.ready(p) }

func controllerUID(p *pod) (types.UID, metav1.OwnerReference) {
	if w := controllerOf(p.rec.Template.Pod); w != nil {
		return w.UID, *w
	}
	return "", metav1.OwnerReference{}
}

func (b *budget) join(p *pod) {
	b.members[p] = false
	uid, w := controllerUID(p)
	if b.owners[uid] == nil {
		b.owners[uid] = &ownedMembers{controller: w}
	}
	b.owners[uid].count++
}

func (b *budget) set(p *pod, healthy bool) {
	if was := b.members[p]; was != healthy {
		b.members[p] = healthy
		if healthy {
			b.healthy++
		} else {
			b.healthy--
		}
	}
}

func (b *budget) leave(p *pod) {
	if _, in := b.members[p]; !in {
		return
	}
	b.set(p, false)
	delete(b.members, p)
	uid, _ := controllerUID(p)
	if b.owners[uid].count--; b.owners[uid].count == 0 {
		delete(b.owners, uid)
	}
}

// budgetsOf calls fn for every budget that selects the pod.
func (e *Engine) budgetsOf(p *pod, fn func(*budget)) {
	for name, b := range e.budgets[p.ns()] {
		if b.selector.Matches(labels.Set(p.rec.Labels())) {
			fn(b)
			e.mark(budgetKey(p.ns(), name))
		}
	}
}

func (e *Engine) indexBudgeted(p *pod) {
	e.budgetsOf(p, func(b *budget) {
		b.join(p)
		b.set(p, e.healthy(p))
	})
}

func (e *Engine) unindexBudgeted(p *pod) { e.budgetsOf(p, func(b *budget) { b.leave(p) }) }

func (e *Engine) budgetedChanged(p *pod) {
	e.budgetsOf(p, func(b *budget) { b.set(p, e.healthy(p)) })
}

// markBudgets marks the budgets of a namespace in which the number of pods that some controller wants may have changed.
func (e *Engine) markBudgets(o *object) {
	if !e.countsPods(o) {
		return
	}
	for name := range e.budgets[o.ns] {
		e.mark(budgetKey(o.ns, name))
	}
}
