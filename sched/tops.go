package sched

import "math/bits"

// blockBits is how many slots share a block: few enough that to look at one costs little, enough that there are few blocks.
const blockBits = 4

// Bounds of rounds that look at the best blocks only.
const (
	topsNodesMin = 512 // of fewer, all are looked at as quickly
	topsCellsMax = 16
	topsSizesMax = 16
)

// tops knows for some sizes of pods which blocks of slots have the best nodes, so that a round that wants few of many nodes need not look
// at all of them.
type tops struct {
	changes uint64   // of rows
	changed []uint64 // by block: the number of its last change
	sizes   []*sizeTops
	next    int      // of sizes, to be replaced
	heap    []uint64 // scratch
}

// sizeTops has for each block the biggest key that a pod of the size would have there, but for what its round's column says. If zones
// matter, which may be as different as one can think, there is one for each zone.
type sizeTops struct {
	size  wants
	zones *topology
	key   [][]uint64 // by zone and block; 0: no node there has room. nil until a pod of the size comes again
	seen  uint64     // the changes up to here
}

// touch notes that a row has changed.
func (p *tops) touch(i int32) {
	b := int(i) >> blockBits
	for b >= len(p.changed) {
		p.changed = append(p.changed, 0)
	}
	p.changes++
	p.changed[b] = p.changes
}

// topsOf finds what is known for a size; nil if that is new, or has not come for long.
func (t *Table) topsOf(size *wants, zones *topology) *sizeTops {
	p := &t.tops
	for _, s := range p.sizes {
		if s.size == *size && s.zones == zones {
			s.refresh(t)
			return s
		}
	}
	fresh := &sizeTops{size: *size, zones: zones}
	if len(p.sizes) < topsSizesMax {
		p.sizes = append(p.sizes, fresh)
		return nil
	}
	p.sizes[p.next] = fresh
	p.next = (p.next + 1) % topsSizesMax
	return nil
}

func (s *sizeTops) refresh(t *Table) {
	blocks := len(t.tops.changed)
	for len(s.key) < s.zones.places() {
		s.key = append(s.key, nil)
	}
	for z := range s.key {
		for len(s.key[z]) < blocks {
			s.key[z], s.seen = append(s.key[z], 0), 0
		}
	}
	for b, at := range t.tops.changed {
		if at > s.seen {
			s.look(t, int32(b))
		}
	}
	s.seen = t.tops.changes
}

// look finds the best keys of a block.
func (s *sizeTops) look(t *Table, b int32) {
	for z := range s.key {
		s.key[z][b] = 0
	}
	first := b << blockBits
	for i := first; i < min(first+1<<blockBits, int32(len(t.rows))); i++ {
		if row := &t.rows[i]; s.size.fit(row) {
			top := &s.key[s.zones.spot(i)][b]
			*top = max(*top, row.pack(s.size.score(row), i))
		}
	}
}

// places is how many places there are in a list by domain, of which the first is for nodes without the label. Without a topology all nodes
// are there.
func (p *topology) places() int {
	if p == nil {
		return 1
	}
	return len(p.size) + 1
}

func (p *topology) spot(i int32) int {
	if p == nil || p.domain[i] == none {
		return 0
	}
	return int(p.domain[i]) + 1
}

// search is the way through the blocks of one place, the best first.
type search struct {
	*filling
	zones *topology // whose domains are the cells, and the places; nil if there is one place
	place int
	cells int    // that there can be in the place
	cell  int32  // of zones; none as long as it is not known
	lift  uint64 // the most that the column adds to a key
}

// fillBest looks at the blocks with the best nodes until every cell there can be has as many keys as it needs, all of them better than
// what the other blocks have. False if that cannot be known beforehand.
func (r *round) fillBest(f *filling) bool {
	if r.limit == 0 || len(r.t.nodes) < topsNodesMin {
		return false
	}
	cells, zones := r.cellsPossible()
	if cells == 0 || cells > topsCellsMax {
		return false
	}
	s := r.t.topsOf(&f.wants, zones)
	if s == nil {
		return false
	}
	lift := uint64(r.lift()) << (keyTieBits + keyNodeBits)
	for place, keys := range s.key {
		r.t.tops.heap = append(r.t.tops.heap[:0], keys...)
		heapify(r.t.tops.heap)
		r.searchIn(&search{f, zones, place, cells, none, lift}, r.t.tops.heap)
	}
	return true
}

// searchIn gives up to choose when a quarter of the blocks was not enough: then it takes the others as they come.
func (r *round) searchIn(w *search, heap []uint64) {
	for patience := len(heap) / 4; len(heap) > 0 && patience > 0; patience-- {
		if heap[0] == 0 || heap[0]+w.lift <= r.floorOf(w) {
			return
		}
		r.fillBlock(w, heap[0])
		heap = fixTop(heap, 0)
	}
	for _, key := range heap {
		if key != 0 {
			r.fillBlock(w, key)
		}
	}
}

// fillBlock gives those nodes of a key's block that are in the place to their cells.
func (r *round) fillBlock(w *search, key uint64) {
	first := int32(key&(nodesMax-1)) >> blockBits << blockBits
	at := int(first >> 6)
	if at >= len(r.v.fits) {
		return
	}
	word := r.v.fits[at] & ((1<<(1<<blockBits) - 1) << (first & 63))
	if w.zones != nil {
		for i := first; i < first+1<<blockBits; i++ {
			if int(i) >= len(w.zones.domain) || w.zones.spot(i) != w.place {
				word &^= 1 << (i & 63)
			}
		}
		if word != 0 && w.cell == none {
			w.cell = r.cellAt(first + int32(bits.TrailingZeros64(word>>(first&63))))
		}
	}
	r.fillWord(w.filling, at, word)
}

// floorOf is the key below which no cell of the place needs any; 0 as long as there may be one that needs more of them.
func (r *round) floorOf(w *search) uint64 {
	if w.zones != nil {
		if w.cell == none {
			return 0
		}
		return r.list[w.cell].floor
	}
	if len(r.list) < w.cells {
		return 0
	}
	low := r.list[0].floor
	for k := range r.list {
		low = min(low, r.list[k].floor)
	}
	return low
}

// lift is the most that the column adds to a score.
func (r *round) lift() (most int32) {
	if !r.lifted {
		return 0
	}
	for _, n := range r.column {
		most = max(most, n)
	}
	return most
}

// cellsPossible is how many cells the nodes can be in, 0 if that is not known before all have been asked, and the topology whose domains
// they are, if they are that.
func (r *round) cellsPossible() (n int, zones *topology) {
	switch len(r.axes) {
	case 0:
		return 1, nil
	case 1:
	default:
		return 0, nil
	}
	a := &r.axes[0]
	if a.count == nil {
		return len(a.topo.size), a.topo
	}
	if n = r.levelsOf(a); n > 0 && a.topo.filed < r.t.present {
		n++ // nodes without the label
	}
	return n, nil
}

// levelsOf is how many different counts the axis has.
func (r *round) levelsOf(a *axis) (n int) {
	for k := range r.factors {
		f := &r.factors[k]
		if f.levels == nil || f.eligible != nil || f.promised != nil || &f.total[0] != &a.count[0] {
			continue
		}
		for _, domains := range f.levels {
			if domains > 0 {
				n++
			}
		}
		return n
	}
	return 0
}
