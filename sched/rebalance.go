package sched

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
)

// Movable is a pod that may be ended where it is and made anew elsewhere.
type Movable struct {
	UID      types.UID
	Template *api.PodTemplate
}

// Move is a pod that would be better on another node. Reason is for people.
type Move struct {
	UID      types.UID
	From, To string
	Reason   string
}

// rebalanceMargin is how much less loaded, in thousandths, the node that a pod moves to must be with it than the other one was with it.
const rebalanceMargin = 50

// Rebalance plans at most so many moves, each pod at most once, that even out what pods request of the nodes and spread pods of one
// owner. A pod goes where the scheduler would put the one that replaces it. The table is as after the moves.
func (t *Table) Rebalance(pods []Movable, most int) (moves []Move) {
	left := map[int32][]Movable{}
	for _, p := range pods {
		if at, ok := t.pods[p.UID]; ok {
			left[at.slot] = append(left[at.slot], p)
		}
	}
	for len(moves) < most {
		m, ok := t.bestMove(left)
		if !ok {
			break
		}
		moves = append(moves, m)
	}
	return moves
}

// bestMove takes the first pod, of the fullest node that has one, whose move pays, and makes it.
func (t *Table) bestMove(left map[int32][]Movable) (Move, bool) {
	var slots []int32
	for i := range left {
		if t.nodes[i] != nil {
			slots = append(slots, i)
		}
	}
	slices.SortFunc(slots, func(a, b int32) int { return cmp.Or(-cmp.Compare(t.fullness(a), t.fullness(b)), cmp.Compare(a, b)) })
	for _, i := range slots {
		tried := map[*class]bool{}
		for k, p := range left[i] {
			c := classOf(p.Template)
			if tried[c] {
				continue
			}
			tried[c] = true
			if m, ok := t.tryMove(p, i, c); ok {
				left[i] = slices.Delete(left[i], k, k+1)
				return m, true
			}
		}
	}
	return Move{}, false
}

// tryMove moves the pod if that pays.
func (t *Table) tryMove(p Movable, from int32, c *class) (Move, bool) {
	fullBefore, matesBefore := t.fullness(from), t.mates(c, from)
	taken := t.pods[p.UID].class // as its status says, which the template does not
	t.RemovePod(p.UID)
	to, ok := t.byName[t.Place(Group{Template: p.Template, UIDs: []types.UID{p.UID}}).Nodes[0]]
	if ok && to != from {
		full, mates := t.fullness(to), t.mates(c, to)
		m := Move{UID: p.UID, From: t.names[from], To: t.names[to]}
		switch {
		case matesBefore > mates && full <= max(fullBefore, t.fullness(from)):
			m.Reason = fmt.Sprintf("%d of its kind are on %s, %d on %s", matesBefore, m.From, mates-1, m.To)
			return m, true
		case matesBefore >= mates && fullBefore-full >= rebalanceMargin:
			m.Reason = fmt.Sprintf("%s is at %d%%, %s at %d%%", m.From, fullBefore/10, m.To, t.fullnessWithout(to, c)/10)
			return m, true
		}
	}
	t.RemovePod(p.UID) // from where Place put it
	t.take(from, p.UID, t.kindOf(taken))
	return Move{}, false
}

// fullness is the larger of the shares of cpu and memory that the pods of a slot request, in thousandths.
func (t *Table) fullness(i int32) int64 { return t.fullnessWithout(i, &class{}) }

func (t *Table) fullnessWithout(i int32, c *class) int64 {
	a, r := &t.alloc[i], &t.rows[i]
	if a.cpuMilli <= 0 || a.memory <= 0 {
		return scoreMax
	}
	cpu, memory := a.cpuMilli-r.loadCPU-c.scoreCPU, a.memory-r.loadMemory-c.scoreMemory
	return max(cpu*scoreMax/a.cpuMilli, memory/1024*scoreMax/max(1, a.memory/1024))
}

// mates counts the pods on a node that have the class's owner.
func (t *Table) mates(c *class, i int32) (n int32) {
	if c.owner == "" {
		return 0
	}
	for _, k := range t.owned[c.owner] {
		n += k.on.at(i)
	}
	return n
}

// Fullness is how much of each node is requested, in thousandths of its cpu or memory, whichever is more.
func (t *Table) Fullness() map[string]int64 {
	out := map[string]int64{}
	for i, n := range t.nodes {
		if n != nil {
			out[n.Name] = t.fullness(int32(i))
		}
	}
	return out
}
