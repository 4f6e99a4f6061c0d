package sched

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
)

// Group is a number of equal pods that want a node.
type Group struct {
	Template *api.PodTemplate
	UIDs     []types.UID
	Fit      Fit // nil has no objections
}

// Decision is where the pods of a group go, in the order of its UIDs. Node "" is nowhere; then
// Reason says why not (for all of them: equal pods fail for equal reasons).
type Decision struct {
	Nodes  []string
	Placed int
	Reason string
}

// Place chooses nodes for the group and accounts its pods there, as if AddPod had been called;
// RemovePod takes a placement back.
func (t *Table) Place(g Group) Decision {
	c := classOf(g.Template)
	d := Decision{Nodes: make([]string, len(g.UIDs))}
	v := t.verdictFor(c)
	mates := t.mates(c)
	h := t.candidates(c, v, mates, g.Fit)
	for d.Placed < len(g.UIDs) && len(h) > 0 {
		i := int32(h[0] & (nodesMax - 1))
		t.take(i, g.UIDs[d.Placed], c)
		d.Nodes[d.Placed] = t.names[i]
		d.Placed++
		if c.owner != "" {
			mates[i]++
		}
		h = fixTop(h, t.key(i, c, v, mates[i]))
	}
	t.heap = h[:0]
	if d.Placed < len(g.UIDs) {
		d.Reason = t.explain(c, g.Fit)
	}
	return d
}

// mates counts the owner's pods on every node.
func (t *Table) mates(c *class) []int32 {
	if cap(t.counts) < len(t.nodes) {
		t.counts = make([]int32, len(t.nodes), len(t.nodes)*2)
	}
	m := t.counts[:len(t.nodes)]
	clear(m)
	if c.owner != "" {
		for i, n := range t.owners[c.owner] {
			m[i] = n
		}
	}
	return m
}

// candidates is a heap of the keys of all nodes that fit.
func (t *Table) candidates(c *class, v *verdict, mates []int32, fit Fit) []uint64 {
	h := t.heap[:0]
	for i := range t.nodes {
		if k := t.key(int32(i), c, v, mates[i]); k != 0 && fit.objection(t.nodes[i]) == "" {
			h = append(h, k)
		}
	}
	for i := len(h)/2 - 1; i >= 0; i-- {
		siftDown(h, i)
	}
	return h
}

// fixTop replaces the best key, or drops it if the new one is 0.
func fixTop(h []uint64, key uint64) []uint64 {
	if key == 0 {
		h[0] = h[len(h)-1]
		h = h[:len(h)-1]
	} else {
		h[0] = key
	}
	if len(h) > 0 {
		siftDown(h, 0)
	}
	return h
}

func siftDown(h []uint64, i int) {
	v := h[i]
	for {
		c := 2*i + 1
		if c >= len(h) {
			break
		}
		if c+1 < len(h) && h[c+1] > h[c] {
			c++
		}
		if h[c] <= v {
			break
		}
		h[i] = h[c]
		i = c
	}
	h[i] = v
}
