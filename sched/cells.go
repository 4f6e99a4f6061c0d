package sched

// cells part the nodes that fit into those for which the factors say the same. Within a cell the node's own key decides, so each has
// a heap of these; which cells are open, and what their nodes gain, is asked anew for every pod.
type cells struct {
	axes  []axis
	list  []cell
	first []int32        // cells by the coordinate on the first axis, plus 1
	more  map[pair]int32 // coordinates on further axes to places, and places to cells
	limit int            // keys that a cell needs to keep; 0 is all
	heaps [][]uint64     // of earlier rounds
}

// axis is what tells nodes of different cells apart: the domain, or if domains are single nodes, the count.
type axis struct {
	topo  *topology
	count []int32 // by domain; nil if the domain itself is the coordinate
}

func (a *axis) at(i int32) int32 {
	d := a.topo.domain[i]
	if a.count == nil || d == none {
		return d
	}
	return a.count[d]
}

// cell is nodes with equal coordinates.
type cell struct {
	at    []int32  // coordinates
	heap  []uint64 // biggest key first
	floor uint64   // while cells are filled: only bigger keys matter
	open  bool
	bonus int64 // to the scores of all of its nodes
	even  int64 // of the factors' scores, not normalised yet
	draw  int64
	plain bool // a label is missing: no part in the spread's score
}

// pair is a place on the axes so far and the coordinate on the next one.
type pair struct{ axes, place, at int32 }

// firstMax is up to which coordinate cells are found without a map.
const firstMax = 4096

// again gives the memory back to the next round.
func (s *cells) again() cells {
	for i := range s.list {
		s.heaps = append(s.heaps, s.list[i].heap[:0])
	}
	clear(s.first)
	return cells{axes: s.axes[:0], list: s.list[:0], first: s.first, heaps: s.heaps}
}

// layOut chooses the axes. Factors whose domains are nodes and that want none there need no axis: they are asked with the node.
func (r *round) layOut(limit int) {
	r.limit = limit
	for k := range r.factors {
		f := &r.factors[k]
		single := f.topo.single()
		if f.use == avoids && single {
			continue
		}
		f.axis = r.axisOf(f, single)
	}
}

func (r *round) axisOf(f *factor, single bool) int {
	for k := range r.axes {
		if a := &r.axes[k]; a.topo == f.topo && (a.count == nil || &a.count[0] == &f.total[0]) {
			return k
		}
	}
	a := axis{topo: f.topo}
	if single && len(f.total) > 0 {
		a.count = f.total
	}
	r.axes = append(r.axes, a)
	return len(r.axes) - 1
}

// cellAt finds or makes the cell of a slot, by its place in the list.
func (s *cells) cellAt(i int32) int32 {
	switch len(s.axes) {
	case 0:
		return 0
	case 1:
		at := s.axes[0].at(i)
		if uint32(at) < uint32(len(s.first)) && s.first[at] != 0 {
			return s.first[at] - 1
		}
		return s.newCellAt(i, at)
	}
	place := s.axes[0].at(i)
	for k := 1; k < len(s.axes); k++ {
		place = s.nextPlace(pair{int32(k), place, s.axes[k].at(i)})
	}
	return s.cellOf(pair{none, place, none}, i)
}

// quickCell is cellAt where the domains of the only axis are the coordinates; negative if the long way has to be taken.
func (s *cells) quickCell(domains []int32, i int32) int32 {
	if int(i) < len(domains) {
		if d := domains[i]; uint32(d) < uint32(len(s.first)) {
			return s.first[d] - 1
		}
	}
	return -1
}

// newCellAt is cellAt for the only axis, where that has not been asked before or is far out.
func (s *cells) newCellAt(i, at int32) int32 {
	if at < 0 || at >= firstMax {
		return s.cellOf(pair{0, 0, at}, i)
	}
	for int(at) >= len(s.first) {
		s.first = append(s.first, 0)
	}
	s.first[at] = s.begin(i) + 1
	return s.first[at] - 1
}

func (s *cells) nextPlace(p pair) int32 {
	if n, there := s.more[p]; there {
		return n
	}
	return s.name(p, int32(len(s.more)))
}

func (s *cells) cellOf(p pair, i int32) int32 {
	if n, there := s.more[p]; there {
		return n
	}
	return s.name(p, s.begin(i))
}

func (s *cells) name(p pair, n int32) int32 {
	if s.more == nil {
		s.more = map[pair]int32{}
	}
	s.more[p] = n
	return n
}

// begin makes a cell for the coordinates of a slot.
func (s *cells) begin(i int32) int32 {
	n := len(s.list)
	if n < cap(s.list) {
		s.list = s.list[:n+1]
	} else {
		s.list = append(s.list, cell{})
	}
	c := &s.list[n]
	*c = cell{at: c.at[:0], open: true}
	for k := range s.axes {
		c.at = append(c.at, s.axes[k].at(i))
	}
	if last := len(s.heaps) - 1; last >= 0 {
		c.heap, s.heaps = s.heaps[last], s.heaps[:last]
	}
	return int32(n)
}
