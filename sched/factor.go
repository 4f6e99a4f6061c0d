package sched

import "math"

// use is what a factor does with its counts.
type use uint8

const (
	spreads use = iota // a domain may not be ahead of the emptiest by more than the skew
	meets              // a domain must have some
	avoids             // a domain must have none
	evens              // the fewer the better
	draws              // the more weight the better
)

// factor is one thing that other pods have to say about where a group goes: counts by domain, which the group's own placements change.
type factor struct {
	use    use
	cause  string
	census *census // nil is the pods of the owner
	topo   *topology
	axis   int   // of the cells; none if cells need not know
	self   int32 // what a pod of the group adds
	total  []int32
	some   bool  // there was something to count
	weight int64 // of each that is counted, for scores

	// Of spreads and evens.
	maxSkew, minDomains int32
	eligible            slots   // nodes that count; nil is all
	promised            []int32 // of the total, those that may still not come, and so lift no level; nil is none
	levels              []int32
	low                 int32 // the emptiest domain has this many
	domains             int32 // that have nodes that count
}

// Causes in Kubernetes' words.
const (
	causeSpread      = "node(s) didn't match pod topology spread constraints"
	causeSpreadLabel = causeSpread + " (missing required label)"
	causeTogether    = "node(s) didn't match pod affinity rules"
	causeApart       = "node(s) didn't match pod anti-affinity rules"
	causeRepelled    = "node(s) didn't satisfy existing pods anti-affinity rules"
)

// factors finds what concerns the group, in the order in which Kubernetes asks.
func (r *round) findFactors() {
	t, k, c := r.t, r.k, r.c
	for i := range c.spread {
		r.addSpread(&c.spread[i], k.spread[i])
	}
	for i := range c.together {
		r.addFactor(factor{use: meets, cause: causeTogether, census: k.together, topo: t.topologies[c.together[i].topology]})
	}
	for i := range c.apart {
		r.addFactor(factor{use: avoids, cause: causeApart, census: k.apart[i], topo: t.topologies[c.apart[i].topology]})
	}
	for _, s := range t.felt(c, repelling) {
		r.addFactor(factor{use: avoids, cause: causeRepelled, census: s, topo: t.topologies[s.id.topology]})
	}
	for i := range c.pulls {
		r.addFactor(factor{use: draws, census: k.pulls[i], topo: t.topologies[c.pulls[i].topology], weight: int64(c.pulls[i].weight)})
	}
	for _, s := range t.felt(c, pulling) {
		r.addFactor(factor{use: draws, census: s, topo: t.topologies[s.id.topology], weight: 1})
	}
	if zones := t.topologies[zoneLabel]; !t.packs && len(c.spread) == 0 && c.owner != "" && zones.domains() > 1 {
		r.addFactor(factor{use: evens, topo: zones, maxSkew: zoneSkew})
	}
}

func (r *round) addSpread(w *spreadWish, s *census) {
	f := factor{use: evens, cause: causeSpread, census: s, topo: r.t.topologies[w.topology], maxSkew: w.maxSkew, minDomains: w.minDomains}
	if w.must {
		f.use = spreads
	}
	f.eligible = r.eligible(w)
	r.addFactor(f)
}

// eligible finds the nodes whose pods count for a spread constraint: they have the labels of all constraints of its sort. nil is all
// nodes that have its label.
func (r *round) eligible(w *spreadWish) slots {
	var others []*topology
	for i := range r.c.spread {
		if o := &r.c.spread[i]; o != w && o.must == w.must && o.topology != w.topology {
			others = append(others, r.t.topologies[o.topology])
		}
	}
	honours := r.c.selective && !w.anyAffinity
	if len(others) == 0 && !honours && !w.honoursTaints {
		return nil
	}
	in := make(slots, len(r.v.fits))
next:
	for i, n := range r.t.nodes {
		if n == nil || honours && !r.v.affine.has(int32(i)) || w.honoursTaints && !r.v.clean.has(int32(i)) {
			continue
		}
		for _, o := range others {
			if o.domain[i] == none {
				continue next
			}
		}
		in.set(int32(i), true)
	}
	return in
}

// addFactor counts, unless there is nothing that could ever matter.
func (r *round) addFactor(f factor) {
	f.axis = none
	f.self = r.shareOf(r.k, f.census)
	f.total = r.t.scratch.column(len(f.topo.size))
	f.some = r.count(&f)
	r.countPromised(&f)
	if f.use >= avoids && f.use != evens && f.self == 0 && !f.some {
		return
	}
	switch f.use {
	case spreads, evens:
		f.measure()
	case meets:
		for _, n := range f.total {
			r.met += int64(n)
		}
	}
	r.factors = append(r.factors, f)
}

// shareOf is what a pod of the kind adds to the census; nil is the census of the group's owner.
func (r *round) shareOf(k *kind, s *census) int32 {
	if s == nil {
		if k.class.owner == r.c.owner {
			return 1
		}
		return 0
	}
	for i := range k.shares {
		if k.shares[i].census == s {
			return k.shares[i].weight
		}
	}
	return 0
}

// count fills the totals and says whether there is anything.
func (r *round) count(f *factor) (some bool) {
	add := func(i, n int32) {
		if d := f.topo.domain[i]; d != none && (f.eligible == nil || f.eligible.has(i)) {
			f.total[d] += n
			some = true
		}
	}
	if f.census != nil {
		f.census.on.each(add)
		return some
	}
	for _, k := range r.t.owned[r.c.owner] {
		k.on.each(add)
	}
	return some
}

// measure counts the domains at each level. Only those with a node that counts are domains.
func (f *factor) measure() {
	if f.eligible == nil && !f.some {
		f.domains = int32(f.topo.domains()) // which are all empty, and may be many
		f.levels = append(f.levels, f.domains)
	} else {
		f.measureEach()
	}
	f.settle()
	f.weight = int64(math.Round(logScale * math.Log(float64(f.domains+2))))
}

func (f *factor) measureEach() {
	counts := func(d int32) bool { return f.topo.size[d] > 0 }
	if f.eligible != nil {
		seen := make([]bool, len(f.total))
		f.eligible.each(func(i int32) {
			if d := f.topo.domain[i]; d != none {
				seen[d] = true
			}
		})
		counts = func(d int32) bool { return seen[d] }
	}
	for d, n := range f.total {
		if counts(int32(d)) {
			f.level(n-f.promisedTo(int32(d)), 1)
			f.domains++
		} else {
			f.total[d] = 0
		}
	}
}

// logScale is the fixed point of the weights of topologies that have many domains, whose pods are few in each.
const logScale = 1024

func (f *factor) level(n, by int32) {
	for int(n) >= len(f.levels) {
		f.levels = append(f.levels, 0)
	}
	f.levels[n] += by
	if by > 0 && n < f.low {
		f.low = n
	}
}

// settle finds the lowest level that has a domain, from the last one up.
func (f *factor) settle() {
	for int(f.low) < len(f.levels)-1 && f.levels[f.low] == 0 {
		f.low++
	}
}

// add counts n more at a slot.
func (r *round) add(f *factor, i, n int32) {
	d := f.topo.domain[i]
	if n == 0 || d == none || f.eligible != nil && !f.eligible.has(i) {
		return
	}
	if f.levels != nil {
		n0 := f.total[d] - f.promisedTo(d)
		f.level(n0, -1)
		f.level(n0+n, 1)
		f.settle()
	}
	f.total[d] += n
	if f.use == meets {
		r.met += int64(n)
	}
}

// allows says whether a domain with that count may take a pod; n none is a node without the label.
func (r *round) allows(f *factor, n int32) bool {
	switch f.use {
	case spreads:
		low := f.low
		if f.domains < f.minDomains {
			low = 0
		}
		return n != none && n+min(f.self, 1)-low <= f.maxSkew
	case meets:
		// The first of pods that want to be near one another has nobody to be near to.
		return n != none && (n > 0 || r.met == 0 && f.self > 0)
	case avoids:
		return n == none || n == 0
	}
	return true
}

// countAt is the count that a slot sees.
func (f *factor) countAt(i int32) int32 {
	if d := f.topo.domain[i]; d != none {
		return f.total[d]
	}
	return none
}
