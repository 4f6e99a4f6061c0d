package sched

import (
	"math/bits"

	corev1 "k8s.io/api/core/v1"
)

// slots is a set of slots.
type slots []uint64

func (s slots) has(i int32) bool { return int(i>>6) < len(s) && s[i>>6]>>(i&63)&1 != 0 }

// set puts the slot in or takes it out.
func (s *slots) set(i int32, in bool) {
	for int(i>>6) >= len(*s) {
		*s = append(*s, 0)
	}
	(*s)[i>>6] &^= 1 << (i & 63)
	if in {
		(*s)[i>>6] |= 1 << (i & 63)
	}
}

// each tells the slots of the set, in order.
func (s slots) each(tell func(i int32)) {
	for w, word := range s {
		for ; word != 0; word &= word - 1 {
			tell(int32(w<<6 + bits.TrailingZeros64(word)))
		}
	}
}

// verdict is what the static filters and scores say about every slot, for all classes of one signature.
type verdict struct {
	static *static
	fits   slots
	affine slots // that node affinity lets in, whatever else speaks against them
	clean  slots // without taints that are not tolerated
	// What nodes have of preferred affinity, and their untolerated PreferNoSchedule taints; nil if no node has any.
	wanted, tainted []int32
	score           []int32 // of these, weighted; nil is 0 for all
	stale           bool    // score is to be computed again
}

// verdicts remembers the answers of static filters. A change of a node is a change of its own answers only.
type verdicts struct {
	bySignature map[string]*verdict
	order       []string // oldest first
}

func newVerdicts() verdicts { return verdicts{bySignature: map[string]*verdict{}} }

// verdictFor asks the static filters, or remembers their answers.
func (t *Table) verdictFor(c *class) *verdict {
	v := t.verdicts.bySignature[c.signature]
	if v == nil {
		v = &verdict{static: &c.static}
		for i := range t.nodes {
			v.judge(t, int32(i))
		}
		t.verdicts.keep(c.signature, v)
	}
	if v.stale {
		v.weigh()
	}
	return v
}

func (m *verdicts) keep(signature string, v *verdict) {
	if len(m.order) == verdictsMax {
		delete(m.bySignature, m.order[0])
		m.order = append(m.order[:0], m.order[1:]...)
	}
	m.bySignature[signature] = v
	m.order = append(m.order, signature)
}

func (m *verdicts) changed(t *Table, i int32) {
	for _, v := range m.bySignature {
		v.judge(t, i)
	}
}

// judge asks about one slot.
func (v *verdict) judge(t *Table, i int32) {
	n := t.nodes[i]
	v.affine.set(i, n != nil && checkAffinity(t, i, v.static))
	v.clean.set(i, n != nil && checkTaints(t, i, v.static))
	v.fits.set(i, n != nil && v.affine.has(i) && v.clean.has(i) && checkName(t, i, v.static) && checkSchedulable(t, i, v.static))
	var wanted, tainted int32
	if v.fits.has(i) {
		if v.static.preferred != nil {
			wanted = int32(v.static.preferred.Score(n))
		}
		tainted = unpreferred(n, v.static)
	}
	changed := put(&v.wanted, i, wanted)
	changed = put(&v.tainted, i, tainted) || changed
	v.stale = v.stale || changed || v.score != nil
}

// put writes into a column that is nil as long as it is all zeros.
func put(column *[]int32, i, n int32) (changed bool) {
	if n == 0 && int(i) >= len(*column) {
		return false
	}
	for int(i) >= len(*column) {
		*column = append(*column, 0)
	}
	changed = (*column)[i] != n
	(*column)[i] = n
	return changed
}

// unpreferred counts the node's PreferNoSchedule taints that are not tolerated.
func unpreferred(n *corev1.Node, c *static) (bad int32) {
	for k := range n.Spec.Taints {
		if n.Spec.Taints[k].Effect == corev1.TaintEffectPreferNoSchedule && !tolerates(c.tolerations, &n.Spec.Taints[k]) {
			bad++
		}
	}
	return bad
}

// weigh gives the node with the most preferred terms the full score for them and the others their share, and the same for having few
// taints that keep pods away if others will do.
func (v *verdict) weigh() {
	v.stale, v.score = false, nil
	best, worst := most(v.wanted), most(v.tainted)
	if best == 0 && worst == 0 {
		return
	}
	v.score = make([]int32, len(v.fits)*64)
	v.fits.each(func(i int32) {
		if best > 0 {
			v.score[i] += at(v.wanted, i) * scoreMax * weightAffinity / best
		}
		if worst > 0 {
			v.score[i] += (worst - at(v.tainted, i)) * scoreMax * weightTaint / worst
		}
	})
}

func most(column []int32) (n int32) {
	for _, v := range column {
		n = max(n, v)
	}
	return n
}

func at(column []int32, i int32) int32 {
	if int(i) < len(column) {
		return column[i]
	}
	return 0
}
