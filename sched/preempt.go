package sched

import (
	"fmt"

	"k8s.io/apimachinery/pkg/types"
)

// Preemption asks for room by making less important pods go, for a group that Place could not place.
type Preemption struct {
	Group
	// Residents are the pods that are bound to a node.
	Residents func(node string) []Resident
	// Allowed is how many more pods may be disrupted, by budget. What Preempt takes is taken off.
	Allowed []int32
}

// Resident is a pod on a node, as a possible victim.
type Resident struct {
	UID     types.UID
	At      *Place // if it is kept
	Started int64  // seconds since 1970
	Leaving bool   // it goes anyway
	Budgets []int  // that it counts for: indices into Allowed
}

// Nomination is what makes room for one pod: it may go to the node when the victims have gone. There are none where only pods have to go
// that leave anyway. Node "" is that nothing helps.
type Nomination struct {
	Node    string
	Victims []types.UID
}

// Preempt nominates nodes for the pods of the group, in the order of its UIDs, as far as that helps; the reason says why it does not for
// the others. What is nominated is accounted from now on, as if Place had placed it there, while the victims stay accounted too: so
// nobody else gets that room, neither now nor when they go.
func (t *Table) Preempt(p Preemption) ([]Nomination, string) {
	c := classOf(p.Template)
	out := make([]Nomination, len(p.UIDs))
	if !c.preempts {
		return out, "preemption: not eligible due to preemptionPolicy=Never."
	}
	h := &hunt{round: t.begin(c, p.Fit), Preemption: &p, away: map[types.UID]struct{}{}}
	defer h.end()
	h.look()
	for n, uid := range p.UIDs {
		best := h.choose()
		if best == nil {
			return out, h.reason()
		}
		out[n] = h.nominate(best, uid)
	}
	return out, ""
}

// hunt is the search for victims of one group.
type hunt struct {
	*round
	*Preemption
	candidates []candidate // by slot; those without a node do not help
	away       map[types.UID]struct{}
	lifted     []lifted // whose room is thought free until the hunt ends
	budget     int      // how often a budget was taken from
	complaints complaints
}

// lifted is a pod whose room is thought free.
type lifted struct {
	slot  int32
	class *class
}

// look finds the candidates, if there is anyone at all who matters less.
func (h *hunt) look() {
	some := false
	for priority := range h.t.priorities {
		some = some || priority < h.c.priority
	}
	h.candidates = make([]candidate, len(h.t.nodes))
	h.complaints = complaints{}
	for i, n := range h.t.nodes {
		if n == nil {
			continue
		}
		causes, final := h.causes(int32(i))
		switch {
		case final:
			h.complaints[causeNoHelp]++
		case !some:
			h.complaints[causeNoVictims]++
		case len(causes) > 0:
			h.candidates[i] = h.try(int32(i))
			for _, cause := range h.candidates[i].causes {
				h.complaints[cause]++
			}
		}
	}
}

// Causes in Kubernetes' words.
const (
	causeNoVictims = "No preemption victims found for incoming pod"
	causeNoHelp    = "Preemption is not helpful for scheduling"
)

func (h *hunt) reason() string {
	if h.t.present == 0 {
		return ""
	}
	return fmt.Sprintf("preemption: %s", h.complaints.sentence(h.t.present))
}

// choose is the best candidate. Since budgets only run out, one that was tried before that is no better than it seemed, and is tried
// again only when it comes out first.
func (h *hunt) choose() *candidate {
	for {
		var best *candidate
		for i := range h.candidates {
			if c := &h.candidates[i]; c.ok && (best == nil || c.better(best)) {
				best = c
			}
		}
		if best == nil || best.budget == h.budget || !best.budgeted {
			return best
		}
		h.candidates[best.slot] = h.try(best.slot)
	}
}

// nominate takes the candidate for a pod.
func (h *hunt) nominate(c *candidate, uid types.UID) Nomination {
	i := c.slot
	out := Nomination{Node: h.t.names[i]}
	for _, v := range c.victims {
		out.Victims = append(out.Victims, v.UID)
		h.lift(v)
		for _, b := range v.Budgets {
			h.Allowed[b]--
			h.budget++
		}
	}
	for _, v := range c.leaving {
		h.lift(v)
	}
	h.t.take(i, uid, h.k)
	h.noted(i)
	if len(h.factors) == 0 {
		h.candidates[i] = h.try(i)
		return out
	}
	for k := range h.candidates { // other nodes may have become right or wrong by it
		if n := h.t.nodes[k]; n != nil && h.v.fits.has(int32(k)) {
			h.candidates[k] = h.try(int32(k))
		}
	}
	return out
}

// lift thinks the room of a pod free, to the end of the hunt.
func (h *hunt) lift(v victim) {
	h.occupy(v, -1)
	h.lifted = append(h.lifted, lifted{v.slot, v.class})
	h.away[v.UID] = struct{}{}
}

// end gives back what was only thought.
func (h *hunt) end() {
	for _, l := range h.lifted {
		h.t.occupy(l.slot, l.class, 1)
	}
	h.round.end()
}

// occupy accounts a pod (n 1) or thinks it away (n -1) for this hunt: the censuses do not hear of it, the group's own factors do.
func (h *hunt) occupy(v victim, n int32) {
	h.t.occupy(v.slot, v.class, n)
	for k := range h.factors {
		f := &h.factors[k]
		if f.census != nil && v.leaving && f.census.id.role == living {
			continue
		}
		h.add(f, v.slot, n*h.shareOf(v.kind, f.census))
	}
}
