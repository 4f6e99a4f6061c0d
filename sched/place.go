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
	r := t.begin(classOf(g.Template), g.Fit)
	defer r.end()
	d := Decision{Nodes: make([]string, len(g.UIDs))}
	limit := 0
	if 4*len(g.UIDs) < len(t.nodes) {
		limit = len(g.UIDs)
	}
	r.layOut(limit)
	r.fill()
	for d.Placed < len(g.UIDs) {
		i := r.next(g.UIDs[d.Placed])
		if i == none {
			d.Reason = r.explain()
			break
		}
		d.Nodes[d.Placed] = t.names[i]
		d.Placed++
	}
	return d
}

// next places one pod; none is nowhere.
func (r *round) next(uid types.UID) int32 {
	k := r.best()
	if k < 0 {
		return none
	}
	c := &r.list[k]
	i := int32(c.heap[0] & (nodesMax - 1))
	r.t.take(i, uid, r.k)
	r.noted(i)
	key := uint64(0)
	if r.suits(i) {
		key = r.key(i)
	}
	if key == 0 || len(r.axes) == 0 {
		c.heap = fixTop(c.heap, key)
		return i
	}
	if to := int(r.cellAt(i)); to != k {
		r.list[k].heap = fixTop(r.list[k].heap, 0)
		r.list[to].heap = push(r.list[to].heap, key)
	} else {
		r.list[k].heap = fixTop(r.list[k].heap, key)
	}
	return i
}
