package sched

// best is the open cell with the best node; -1 if there is none.
func (r *round) best() int {
	if len(r.axes) == 0 {
		if len(r.list) == 0 || len(r.list[0].heap) == 0 {
			return -1
		}
		return 0
	}
	r.rate()
	best, top := -1, uint64(0)
	for k := range r.list {
		if c := &r.list[k]; c.open && len(c.heap) > 0 {
			if key := c.heap[0] + uint64(c.bonus)<<(keyTieBits+keyNodeBits); key > top {
				best, top = k, key
			}
		}
	}
	return best
}

// rate says which cells with nodes are open and what each is worth. Scores are relative to those of the other open cells.
func (r *round) rate() {
	var even, draw bounds
	for k := range r.list {
		c := &r.list[k]
		if len(c.heap) == 0 {
			continue
		}
		if r.ask(c); c.open {
			draw.take(c.draw)
			if !c.plain {
				even.take(c.even)
			}
		}
	}
	for k := range r.list {
		c := &r.list[k]
		c.bonus = draw.share(c.draw) * weightPods
		if !c.plain {
			c.bonus += even.least(c.even) * weightSpread
		}
	}
}

// ask asks the factors about a cell.
func (r *round) ask(c *cell) {
	c.open, c.even, c.draw, c.plain = true, 0, 0, true
	ignored := false
	for k := range r.factors {
		f := &r.factors[k]
		if f.axis == none {
			continue
		}
		n := c.at[f.axis]
		if r.axes[f.axis].count == nil && n != none {
			n = f.total[n]
		}
		switch {
		case !r.allows(f, n):
			c.open = false
			return
		case f.use == draws && n != none:
			c.draw += int64(n) * f.weight
		case f.use == evens && n != none:
			c.even += int64(n)*f.weight + int64(f.maxSkew-1)*logScale
			c.plain = false
		case f.use == evens:
			ignored = true
		}
	}
	c.plain = c.plain || ignored
}

// bounds are the smallest and the biggest of some numbers.
type bounds struct {
	low, high int64
	some      bool
}

func (b *bounds) take(n int64) {
	if !b.some {
		*b = bounds{n, n, true}
	}
	b.low, b.high = min(b.low, n), max(b.high, n)
}

// share is scoreMax for the biggest and 0 for the smallest.
func (b *bounds) share(n int64) int64 {
	if b.high == b.low {
		return 0
	}
	return (n - b.low) * scoreMax / (b.high - b.low)
}

// least is scoreMax for the smallest, and less by as much as another is more.
func (b *bounds) least(n int64) int64 {
	if b.high <= 0 {
		return scoreMax
	}
	return (b.high + b.low - n) * scoreMax / b.high
}
