package sched

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
)

// PlaceOn places one pod on the one node that it may run on, and accounts it there. It costs the same however many nodes there are.
// The decision's reason is the sentence that Place would give for a pod that no other node suits.
func (t *Table) PlaceOn(template *api.PodTemplate, uid types.UID, node string) Decision {
	c := classOf(template)
	i, ok := t.byName[node]
	if !ok || t.nodes[i] == nil {
		return Decision{Nodes: []string{""}, Reason: t.unsuited(t.present)}
	}
	if causes := t.causes(i, c, nil); causes != nil {
		return Decision{Nodes: []string{""}, Reason: t.unsuited(t.present-1, causes...)}
	}
	t.take(i, uid, c)
	return Decision{Nodes: []string{node}, Placed: 1}
}

// unsuited is the sentence for a pod that a number of nodes are not the right ones for, and one is for the causes given.
func (t *Table) unsuited(others int, causes ...string) string {
	if t.present == 0 {
		return noNodes
	}
	counts := map[string]int{}
	for _, c := range causes {
		counts[c]++
	}
	if others > 0 {
		counts[causeOtherNode] += others
	}
	parts := make([]string, 0, len(counts))
	for c, n := range counts {
		parts = append(parts, fmt.Sprintf("%d %s", n, c))
	}
	slices.Sort(parts)
	return t.Unavailable(strings.Join(parts, ", "))
}
