package sched

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
)

// PlaceOn places one pod on the one node that it may run on, and accounts it there. It costs the same however many nodes there are, if
// the pod asks for no topology spread. The decision's reason is the sentence that Place would give for a pod that no other node suits.
func (t *Table) PlaceOn(template *api.PodTemplate, uid types.UID, node string) Decision {
	i, ok := t.byName[node]
	if !ok || t.nodes[i] == nil {
		return Decision{Nodes: []string{""}, Reason: t.unsuited(t.present)}
	}
	r := t.open(classOf(template), nil)
	defer r.end()
	if causes, _ := r.causes(i); causes != nil {
		return Decision{Nodes: []string{""}, Reason: t.unsuited(t.present-1, causes...)}
	}
	t.take(i, uid, r.k)
	return Decision{Nodes: []string{node}, Placed: 1}
}

// unsuited is the sentence for a pod that a number of nodes are not the right ones for, and one is for the causes given.
func (t *Table) unsuited(others int, causes ...string) string {
	if t.present == 0 {
		return noNodes
	}
	m := complaints{}
	for _, c := range causes {
		m[c]++
	}
	if others > 0 {
		m[causeOtherNode] += others
	}
	return m.sentence(t.present)
}
