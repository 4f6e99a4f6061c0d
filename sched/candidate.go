package sched

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// victim is a resident that matters less than the group.
type victim struct {
	Resident
	placed
	violates bool // a budget has nothing left for it
}

// candidate is a node and what would have to go from it for one more pod of the group.
type candidate struct {
	ok       bool
	slot     int32
	victims  []victim // the most important first
	leaving  []victim // that go anyway, and make room too
	key      uint64
	budgeted bool     // budgets had a say, when as many had been taken from
	budget   int      // as this
	causes   []string // why not ok
}

// try finds the fewest that have to go from a node: all that matter less are thought away, then as many as possible may stay, those
// first whose going would be worst.
func (h *hunt) try(i int32) candidate {
	c := candidate{slot: i, budget: h.budget}
	lesser := h.lesser(i)
	if len(lesser) == 0 {
		c.causes = []string{causeNoVictims}
		return c
	}
	for _, v := range lesser {
		h.occupy(v, -1)
	}
	if c.causes, _ = h.causes(i); len(c.causes) == 0 {
		c.ok = true
		h.reprieve(&c, lesser)
		c.key = h.key(i)
	}
	for _, v := range lesser {
		h.occupy(v, 1)
	}
	return c
}

// lesser are the residents that matter less and have not been thought away for another pod of the group.
func (h *hunt) lesser(i int32) (out []victim) {
	for _, r := range h.Residents(h.t.names[i]) {
		p := h.t.whereIs(&r)
		if _, away := h.away[r.UID]; p.kind != nil && !away && p.slot == i && p.class.priority < h.c.priority {
			out = append(out, victim{Resident: r, placed: p})
		}
	}
	return out
}

// reprieve lets stay who can: all of lesser are thought away when it begins and when it ends.
func (h *hunt) reprieve(c *candidate, lesser []victim) {
	var rest []victim
	for _, v := range lesser {
		if v.Leaving {
			c.leaving = append(c.leaving, v)
		} else {
			rest = append(rest, v)
			c.budgeted = c.budgeted || len(v.Budgets) > 0
		}
	}
	slices.SortFunc(rest, moreImportant)
	h.markViolations(rest)
	slices.SortStableFunc(rest, func(a, b victim) int { return compareBool(b.violates, a.violates) })
	stay := rest[:0:0]
	for _, v := range rest {
		h.occupy(v, 1)
		if h.suits(v.slot) && h.allowed(v.slot) { // the rest does not change by who goes
			stay = append(stay, v)
			continue
		}
		h.occupy(v, -1)
		c.victims = append(c.victims, v)
	}
	for _, v := range stay {
		h.occupy(v, -1)
	}
}

// moreImportant orders by priority, and of equals the one that has run for longer first.
func moreImportant(a, b victim) int {
	return cmp.Or(-cmp.Compare(a.class.priority, b.class.priority), cmp.Compare(a.Started, b.Started), strings.Compare(string(a.UID), string(b.UID)))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// markViolations says whose going its budgets would not allow, if the more important ones went before.
func (h *hunt) markViolations(list []victim) {
	taken := map[int]int32{}
	for k := range list {
		for _, b := range list[k].Budgets {
			taken[b]++
			list[k].violates = list[k].violates || taken[b] > h.Allowed[b]
		}
	}
}

// better compares candidates as Kubernetes does: fewer violated budgets, a less important most important victim, a smaller sum of
// priorities, fewer victims, those that have run for a shorter time, and at last the node that is better by itself.
func (c *candidate) better(o *candidate) bool {
	return cmp.Or(
		cmp.Compare(c.violations(), o.violations()),
		cmp.Compare(c.highest(), o.highest()),
		cmp.Compare(c.sum(), o.sum()),
		cmp.Compare(len(c.victims), len(o.victims)),
		-cmp.Compare(c.started(), o.started()),
		-cmp.Compare(c.key, o.key),
	) < 0
}

func (c *candidate) violations() (n int) {
	for k := range c.victims {
		if c.victims[k].violates {
			n++
		}
	}
	return n
}

func (c *candidate) highest() int32 {
	top := int32(math.MinInt32)
	for k := range c.victims {
		top = max(top, c.victims[k].class.priority)
	}
	return top
}

// sum counts every priority from the lowest there is, so that more victims are never a smaller sum.
func (c *candidate) sum() (n int64) {
	for k := range c.victims {
		n += int64(c.victims[k].class.priority) - math.MinInt32
	}
	return n
}

// started is the earliest start of the most important victims.
func (c *candidate) started() int64 {
	at, top := int64(math.MaxInt64), c.highest()
	for k := range c.victims {
		if c.victims[k].class.priority == top {
			at = min(at, c.victims[k].Started)
		}
	}
	return at
}
