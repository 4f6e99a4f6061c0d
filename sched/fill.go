package sched

import "math/bits"

// filling is what the loop over the nodes keeps at hand.
type filling struct {
	wants
	domains []int32 // of the only axis, if they are the coordinates
}

// fill gives the nodes that fit to their cells. Of a group of few pods no cell can use more nodes than there are pods: as one of them
// can only change the keys of nodes that were taken, the best of the others stay the best.
func (r *round) fill() {
	f := filling{wants: r.wants()}
	switch {
	case len(r.axes) == 0:
		r.begin(0)
	case len(r.axes) == 1 && r.axes[0].count == nil:
		f.domains = r.axes[0].topo.domain
	}
	if !r.fillBest(&f) {
		r.fillAll(&f)
	}
	for k := range r.list {
		heapify(r.list[k].heap)
	}
}

func (r *round) fillAll(f *filling) {
	for at, word := range r.v.fits {
		r.fillWord(f, at, word)
	}
}

// fillWord takes the nodes of a word of the set of those that fit. It is the one loop over all nodes, so it looks at the cell only of keys
// that may matter.
func (r *round) fillWord(f *filling, at int, word uint64) {
	for ; word != 0; word &= word - 1 {
		i := int32(at<<6 + bits.TrailingZeros64(word))
		row := &r.t.rows[i]
		if !f.fit(row) {
			continue
		}
		key := row.pack(f.score(row)+int64(r.column[i]), i)
		k := int32(0)
		if len(r.axes) > 0 {
			if k = r.quickCell(f.domains, i); k < 0 {
				k = r.cellAt(i)
			}
		}
		c := &r.list[k]
		if key <= c.floor || r.picky && !(r.pleases(i) && r.fit.objection(r.t.nodes[i]) == "") {
			continue
		}
		c.offer(key, r.limit)
	}
}

// offer keeps the biggest keys, as many as the limit allows; a full heap has its smallest on top, which is the floor then.
func (c *cell) offer(key uint64, limit int) {
	if c.floor != 0 {
		c.heap[0] = key
		siftDownSmall(c.heap, 0)
		c.floor = c.heap[0]
		return
	}
	c.heap = append(c.heap, key)
	if len(c.heap) == limit {
		for i := len(c.heap)/2 - 1; i >= 0; i-- {
			siftDownSmall(c.heap, i)
		}
		c.floor = c.heap[0]
	}
}
