package sched

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// The static filters read only the node's description, so their answer holds for a signature until the node changes.

func checkSchedulable(t *Table, i int32, c *static) bool {
	return !t.nodes[i].Spec.Unschedulable || tolerates(c.tolerations, &corev1.Taint{
		Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule,
	})
}

func checkName(t *Table, i int32, c *static) bool { return c.pinned == "" || c.pinned == t.names[i] }

func checkTaints(t *Table, i int32, c *static) bool { return untolerated(t.nodes[i], c) == nil }

func untolerated(n *corev1.Node, c *static) *corev1.Taint {
	for k := range n.Spec.Taints {
		taint := &n.Spec.Taints[k]
		if taint.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(c.tolerations, taint) {
			return taint
		}
	}
	return nil
}

func checkAffinity(t *Table, i int32, c *static) bool {
	if !c.selective {
		return true
	}
	ok, err := c.required.Match(t.nodes[i])
	return ok && err == nil
}

// The others read what pods have taken.

func checkPorts(t *Table, i int32, c *class) bool {
	if len(c.ports) == 0 || len(t.ports[i]) == 0 {
		return true
	}
	for used := range t.ports[i] {
		if slices.ContainsFunc(c.ports, used.collides) {
			return false
		}
	}
	return true
}

func checkExtended(t *Table, i int32, c *class) bool {
	for _, r := range c.extended {
		if !enough(t.extendedFree(r.name, i), r.amount) {
			return false
		}
	}
	return true
}

func (t *Table) extendedFree(name string, i int32) int64 {
	return t.extendedOf(t.extAlloc, name, i) - t.extendedOf(t.extUsed, name, i)
}

func (t *Table) extendedOf(columns map[string][]int64, name string, i int32) int64 {
	if c := columns[name]; c != nil {
		return c[i]
	}
	return 0
}

// shortages are the resources of which the node has not enough. Final are those of which it never had enough, so that nobody's going
// would help.
func (t *Table) shortages(i int32, c *class) (causes []string, final bool) {
	r, a := &t.rows[i], &t.alloc[i]
	if r.pods <= 0 {
		causes = append(causes, "Too many pods")
	}
	lacks := func(name string, free, alloc, want int64) {
		if !enough(free, want) {
			causes = append(causes, "Insufficient "+name)
			final = final || want > alloc
		}
	}
	lacks("cpu", r.cpuMilli, a.cpuMilli, c.cpuMilli)
	lacks("memory", r.memory, a.memory, c.memory)
	lacks("ephemeral-storage", r.ephemeral, a.ephemeral, c.ephemeral)
	for _, x := range c.extended {
		lacks(x.name, t.extendedFree(x.name, i), t.extendedOf(t.extAlloc, x.name, i), x.amount)
	}
	return causes, final
}
