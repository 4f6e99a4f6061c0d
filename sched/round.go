package sched

import corev1 "k8s.io/api/core/v1"

const zoneLabel = corev1.LabelTopologyZone

// round is the placing of one group.
type round struct {
	t       *Table
	k       *kind
	c       *class
	v       *verdict
	fit     Fit
	factors []factor
	hosts   []*factor // those of avoids whose domains are single nodes: they only speak about the node that is asked
	column  []int32   // scores by slot, but for what is free
	lifted  bool      // some of them may be above 0
	met     int64     // pods that the required affinity chooses, over all topologies
	penalty int32     // for each pod of the owner on a node
	picky   bool      // there is more to ask of a node than its row
	cells
}

// scratch is memory that rounds use one after the other.
type scratch struct {
	columns [][]int32
	used    int
	round   round
}

// column is n zeros.
func (s *scratch) column(n int) []int32 {
	if s.used == len(s.columns) {
		s.columns = append(s.columns, nil)
	}
	c := &s.columns[s.used]
	s.used++
	if cap(*c) < n {
		*c = make([]int32, n, n+n/2)
	}
	*c = (*c)[:n]
	clear(*c)
	return *c
}

// open prepares a round for questions about single nodes. Only one is under way at a time.
func (t *Table) open(c *class, fit Fit) *round {
	t.scratch.used = 0
	r := &t.scratch.round
	*r = round{t: t, k: t.kindOf(c), c: c, fit: fit, factors: r.factors[:0], hosts: r.hosts[:0], cells: r.cells.again()}
	if len(c.spread) > 0 { // which looks at all nodes
		r.v = t.verdictFor(c)
	}
	r.findFactors()
	return r
}

// begin prepares a round over all nodes.
func (t *Table) begin(c *class, fit Fit) *round {
	r := t.open(c, fit)
	r.v = t.verdictFor(c)
	for i := range r.factors {
		if f := &r.factors[i]; f.use == avoids && f.topo.single() {
			r.hosts = append(r.hosts, f)
		}
	}
	r.picky = len(c.ports) > 0 || len(c.extended) > 0 || len(r.hosts) > 0 || fit != nil
	r.score()
	return r
}

// end forgets the group's kind if nothing of it was placed.
func (r *round) end() { r.t.endIfEmpty(r.k) }

// score fills the column.
func (r *round) score() {
	t := r.t
	r.column = t.scratch.column(len(t.nodes))
	copy(r.column, r.v.score)
	r.lifted = t.imageScores(r.c, r.column) || len(r.v.score) > 0
	if t.packs || r.c.owner == "" {
		return
	}
	r.penalty = ownerPenalty
	for _, k := range t.owned[r.c.owner] {
		k.on.each(func(i, n int32) { r.column[i] -= n * ownerPenalty })
	}
}

// key packs the node's score, a tie-break and the slot.
func (r *round) key(i int32) uint64 {
	w, row := r.wants(), &r.t.rows[i]
	return row.pack(w.score(row)+int64(r.column[i]), i)
}

// suits says whether a node that the static filters let pass takes one more, as far as only the node itself is concerned.
func (r *round) suits(i int32) bool {
	return r.t.rows[i].takes(r.c) && (!r.picky || r.pleases(i))
}

// pleases asks what few pods ask.
func (r *round) pleases(i int32) bool {
	if !checkPorts(r.t, i, r.c) || !checkExtended(r.t, i, r.c) {
		return false
	}
	for _, f := range r.hosts {
		if n := f.countAt(i); n != none && n != 0 {
			return false
		}
	}
	return true
}

// allowed asks all factors about a slot.
func (r *round) allowed(i int32) bool {
	for k := range r.factors {
		if f := &r.factors[k]; !r.allows(f, f.countAt(i)) {
			return false
		}
	}
	return true
}

// noted counts a pod of the group that was placed.
func (r *round) noted(i int32) {
	r.column[i] -= r.penalty
	for k := range r.factors {
		r.add(&r.factors[k], i, r.factors[k].self)
	}
}
