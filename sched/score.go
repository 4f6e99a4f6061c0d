package sched

import corev1 "k8s.io/api/core/v1"

// verdict is what the static filters and scores say about every slot, for one class.
type verdict struct {
	fits  []bool
	score []int32 // affinity and taints, weighted
}

// verdictFor asks the static filters, or remembers their answers.
func (t *Table) verdictFor(c *class) *verdict {
	if v := t.verdicts[c]; v != nil && len(v.fits) == len(t.nodes) {
		return v
	}
	v := &verdict{fits: make([]bool, len(t.nodes)), score: make([]int32, len(t.nodes))}
	for i := range t.nodes {
		v.fits[i] = t.nodes[i] != nil && passes(staticFilters, t, int32(i), c)
	}
	t.scoreAffinity(c, v)
	t.scoreTaints(c, v)
	t.verdicts[c] = v
	return v
}

func passes(list []filter, t *Table, i int32, c *class) bool {
	for k := range list {
		if !list[k].check(t, i, c) {
			return false
		}
	}
	return true
}

// scoreAffinity gives the node with the most preferred terms the full score, the others their share.
func (t *Table) scoreAffinity(c *class, v *verdict) {
	if c.preferred == nil {
		return
	}
	raw, best := make([]int64, len(t.nodes)), int64(0)
	for i, n := range t.nodes {
		if v.fits[i] {
			raw[i] = c.preferred.Score(n)
			best = max(best, raw[i])
		}
	}
	for i := range raw {
		if best > 0 {
			v.score[i] += int32(raw[i] * scoreMax * weightAffinity / best)
		}
	}
}

// scoreTaints prefers nodes with few PreferNoSchedule taints that the class does not tolerate.
func (t *Table) scoreTaints(c *class, v *verdict) {
	bad, worst := make([]int32, len(t.nodes)), int32(0)
	for i, n := range t.nodes {
		if !v.fits[i] {
			continue
		}
		for k := range n.Spec.Taints {
			if n.Spec.Taints[k].Effect == corev1.TaintEffectPreferNoSchedule && !tolerates(c.tolerations, &n.Spec.Taints[k]) {
				bad[i]++
			}
		}
		worst = max(worst, bad[i])
	}
	for i := range bad {
		if worst > 0 {
			v.score[i] += (worst - bad[i]) * scoreMax * weightTaint / worst
		}
	}
}

// freeScore is the mean share of cpu and memory that stays free once the pod is there.
func (t *Table) freeScore(i int32, c *class) int64 {
	a, u := &t.alloc[i], &t.load[i]
	return weightFree * (share(a.cpuMilli, u.cpuMilli+c.scoreCPU) + share(a.memory, u.memory+c.scoreMemory)) / 2
}

func share(alloc, used int64) int64 {
	if alloc <= 0 || used >= alloc {
		return 0
	}
	return (alloc - used) * scoreMax / alloc
}

// key packs the node's score for the class, a tie-break and the slot; 0 means that it does not fit now.
// mates is how many pods of the same owner the node has.
func (t *Table) key(i int32, c *class, v *verdict, mates int32) uint64 {
	if !v.fits[i] || !passes(dynamicFilters, t, i, c) {
		return 0
	}
	s := scoreBias + int64(v.score[i]) + t.freeScore(i, c) - int64(mates)*ownerPenalty
	s = min(max(s, 1), 1<<keyScoreBits-1)
	tie := t.tie[i] >> (64 - keyTieBits)
	return uint64(s)<<(keyTieBits+keyNodeBits) | tie<<keyNodeBits | uint64(i)
}
