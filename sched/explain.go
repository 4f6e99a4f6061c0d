package sched

import (
	"fmt"
	"slices"
	"strings"
)

// causeOtherNode is what a pod's selector and node affinity have against a node.
const causeOtherNode = "node(s) didn't match Pod's node affinity/selector"

// causeTainted names no taint: what an operator writes about nodes is not for everybody who may read pods, and one count says more than many.
const causeTainted = "node(s) had untolerated taint(s)"

const noNodes = "no nodes available to schedule pods"

// complaints counts what speaks against nodes.
type complaints map[string]int

// sentence is Kubernetes' own.
func (m complaints) sentence(nodes int) string {
	parts := make([]string, 0, len(m))
	for cause, n := range m {
		parts = append(parts, fmt.Sprintf("%d %s", n, cause))
	}
	slices.Sort(parts)
	return fmt.Sprintf("0/%d nodes are available: %s.", nodes, strings.Join(parts, ", "))
}

// explain says why no node takes another pod of the group.
func (r *round) explain() string {
	t := r.t
	if t.present == 0 {
		return noNodes
	}
	m := complaints{}
	for i := range t.nodes {
		if t.nodes[i] != nil {
			causes, _ := r.causes(int32(i))
			for _, cause := range causes {
				m[cause]++
			}
		}
	}
	return m.sentence(t.present)
}

// causes are the complaints of the first filter that refuses the node; nil if all accept it. Final says that the node stays wrong
// whichever pods leave it.
func (r *round) causes(i int32) (causes []string, final bool) {
	if cause := r.staticCause(i); cause != "" {
		return []string{cause}, true
	}
	if !checkPorts(r.t, i, r.c) {
		return []string{"node(s) didn't have free ports for the requested pod ports"}, false
	}
	if causes, final = r.t.shortages(i, r.c); len(causes) > 0 {
		return causes, final
	}
	if cause := r.fit.objection(r.t.nodes[i]); cause != "" {
		return []string{cause}, true
	}
	for k := range r.factors {
		f := &r.factors[k]
		switch n := f.countAt(i); {
		case r.allows(f, n):
		case f.use == spreads && n == none:
			return []string{causeSpreadLabel}, true
		default:
			return []string{f.cause}, f.use == meets
		}
	}
	return nil, false
}

func (r *round) staticCause(i int32) string {
	t, c := r.t, &r.c.static
	switch {
	case !checkSchedulable(t, i, c):
		return "node(s) were unschedulable"
	case !checkName(t, i, c):
		return "node(s) didn't match the requested node name"
	case !checkTaints(t, i, c):
		return causeTainted
	case !checkAffinity(t, i, c):
		return causeOtherNode
	}
	return ""
}
