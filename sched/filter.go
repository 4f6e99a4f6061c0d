package sched

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// filter is one reason for which a node may be wrong for a class. Explain is only called where
// Check has said no, and gives one or more short causes in Kubernetes' words.
type filter struct {
	name    string
	check   func(t *Table, i int32, c *class) bool
	explain func(t *Table, i int32, c *class) []string
}

// staticFilters read only the node's description, so their answer holds for a class until a node
// changes. dynamicFilters read what other pods have taken. Both are asked in order; the first
// that refuses a node names the cause.
var (
	staticFilters = []filter{
		{"NodeUnschedulable", checkSchedulable, says("node(s) were unschedulable")},
		{"NodeName", checkName, says("node(s) didn't match the requested node name")},
		{"TaintToleration", checkTaints, explainTaints},
		{"NodeAffinity", checkAffinity, says(causeOtherNode)},
	}
	dynamicFilters = []filter{
		{"NodePorts", checkPorts, says("node(s) didn't have free ports for the requested pod ports")},
		{"NodeResourcesFit", checkRoom, explainRoom},
	}
)

func says(cause string) func(*Table, int32, *class) []string {
	return func(*Table, int32, *class) []string { return []string{cause} }
}

func checkSchedulable(t *Table, i int32, c *class) bool {
	return !t.nodes[i].Spec.Unschedulable || tolerates(c.tolerations, &corev1.Taint{
		Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule,
	})
}

func checkName(t *Table, i int32, c *class) bool { return c.pinned == "" || c.pinned == t.names[i] }

func checkTaints(t *Table, i int32, c *class) bool { return untolerated(t.nodes[i], c) == nil }

func untolerated(n *corev1.Node, c *class) *corev1.Taint {
	for k := range n.Spec.Taints {
		taint := &n.Spec.Taints[k]
		if taint.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(c.tolerations, taint) {
			return taint
		}
	}
	return nil
}

func explainTaints(t *Table, i int32, c *class) []string {
	taint := untolerated(t.nodes[i], c)
	return []string{fmt.Sprintf("node(s) had untolerated taint {%s: %s}", taint.Key, taint.Value)}
}

func checkAffinity(t *Table, i int32, c *class) bool {
	if !c.selective {
		return true
	}
	ok, err := c.required.Match(t.nodes[i])
	return ok && err == nil
}

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

func checkRoom(t *Table, i int32, c *class) bool {
	a, u := &t.alloc[i], &t.used[i]
	if u.pods+1 > a.pods || !enough(a.cpuMilli, u.cpuMilli, c.cpuMilli) ||
		!enough(a.memory, u.memory, c.memory) || !enough(a.ephemeral, u.ephemeral, c.ephemeral) {
		return false
	}
	for _, r := range c.extended {
		if !enough(t.extendedOf(t.extAlloc, r.name, i), t.extendedOf(t.extUsed, r.name, i), r.amount) {
			return false
		}
	}
	return true
}

// enough says whether want fits; what asks for nothing always fits, also on a node that is overfull.
func enough(alloc, used, want int64) bool { return want == 0 || used+want <= alloc }

func (t *Table) extendedOf(columns map[string][]int64, name string, i int32) int64 {
	if c := columns[name]; c != nil {
		return c[i]
	}
	return 0
}

func explainRoom(t *Table, i int32, c *class) []string {
	var out []string
	a, u := &t.alloc[i], &t.used[i]
	if u.pods+1 > a.pods {
		out = append(out, "Too many pods")
	}
	if !enough(a.cpuMilli, u.cpuMilli, c.cpuMilli) {
		out = append(out, "Insufficient cpu")
	}
	if !enough(a.memory, u.memory, c.memory) {
		out = append(out, "Insufficient memory")
	}
	if !enough(a.ephemeral, u.ephemeral, c.ephemeral) {
		out = append(out, "Insufficient ephemeral-storage")
	}
	for _, r := range c.extended {
		if !enough(t.extendedOf(t.extAlloc, r.name, i), t.extendedOf(t.extUsed, r.name, i), r.amount) {
			out = append(out, "Insufficient "+r.name)
		}
	}
	return out
}

// causeOtherNode is what a pod's selector and node affinity have against a node.
const causeOtherNode = "node(s) didn't match Pod's node affinity/selector"

const noNodes = "no nodes available to schedule pods"

// explain says, in Kubernetes' sentence, why no node takes another pod of the class.
func (t *Table) explain(c *class, fit Fit) string {
	if t.present == 0 {
		return noNodes
	}
	counts := map[string]int{}
	for i := range t.nodes {
		if t.nodes[i] != nil {
			for _, cause := range t.causes(int32(i), c, fit) {
				counts[cause]++
			}
		}
	}
	parts := make([]string, 0, len(counts))
	for cause, n := range counts {
		parts = append(parts, fmt.Sprintf("%d %s", n, cause))
	}
	slices.Sort(parts)
	return fmt.Sprintf("0/%d nodes are available: %s.", t.present, strings.Join(parts, ", "))
}

// causes are the complaints of the first filter that refuses the node; nil if all accept it.
func (t *Table) causes(i int32, c *class, fit Fit) []string {
	for _, list := range [][]filter{staticFilters, dynamicFilters} {
		for k := range list {
			if !list[k].check(t, i, c) {
				return list[k].explain(t, i, c)
			}
		}
	}
	if cause := fit.objection(t.nodes[i]); cause != "" {
		return []string{cause}
	}
	return nil
}
