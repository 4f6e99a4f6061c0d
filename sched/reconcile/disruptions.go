package reconcile

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// disruptions are what the budgets still allow, while it is decided who goes.
type disruptions struct {
	allowed []int32 // by budget
	spaces  map[string][]allowance
}

// allowance is what a PodDisruptionBudget says of its pods.
type allowance struct {
	index     int
	selector  labels.Selector
	disrupted map[string]bool // pods whose going has been counted
}

// newDisruptions reads all budgets: few, and read only when somebody has to go.
func (e *Engine) newDisruptions() *disruptions {
	d := &disruptions{spaces: map[string][]allowance{}}
	for ns := range e.spaces {
		for _, o := range e.list(ns, Budgets) {
			b := o.obj.(*policyv1.PodDisruptionBudget)
			disrupted := make(map[string]bool, len(b.Status.DisruptedPods))
			for name := range b.Status.DisruptedPods {
				disrupted[name] = true
			}
			d.spaces[ns] = append(d.spaces[ns], allowance{len(d.allowed), budgetSelector(b), disrupted})
			d.allowed = append(d.allowed, b.Status.DisruptionsAllowed)
		}
	}
	return d
}

// of lists the budgets that the pod counts for.
func (d *disruptions) of(p *pod) (out []int) {
	for _, b := range d.spaces[p.ns()] {
		if !b.disrupted[p.name()] && b.selector.Matches(labels.Set(p.rec.Labels())) {
			out = append(out, b.index)
		}
	}
	return out
}
