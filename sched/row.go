package sched

import "math"

// row is what changes about a node while pods are placed, in one line of the processor's cache.
type row struct {
	cpuMilli, memory, ephemeral int64 // free: millicores, bytes, bytes; negative if overfull
	loadCPU, loadMemory         int64 // free as the score counts it
	perCPU, perMemory           uint64
	pods                        int32 // that may still come
	tie                         uint32
}

// room is an amount of the resources that every node has.
type room struct {
	cpuMilli, memory, ephemeral int64
	pods                        int64
}

// add accounts n pods of the class.
func (r *row) add(c *class, n int64) {
	r.cpuMilli -= n * c.cpuMilli
	r.memory -= n * c.memory
	r.ephemeral -= n * c.ephemeral
	r.loadCPU -= n * c.scoreCPU
	r.loadMemory -= n * c.scoreMemory
	r.pods -= int32(n)
}

// allocate changes what the node has in all.
func (r *row) allocate(was, is *room) {
	r.cpuMilli += is.cpuMilli - was.cpuMilli
	r.memory += is.memory - was.memory
	r.ephemeral += is.ephemeral - was.ephemeral
	r.loadCPU += is.cpuMilli - was.cpuMilli
	r.loadMemory += is.memory - was.memory
	r.pods += int32(is.pods - was.pods)
	r.perCPU, r.perMemory = perUnit(is.cpuMilli), perUnit(is.memory)
}

// takes says whether the node has room for one more. What asks for nothing always fits, also on a node that is overfull.
func (r *row) takes(c *class) bool {
	return r.pods > 0 && enough(r.cpuMilli, c.cpuMilli) && enough(r.memory, c.memory) && enough(r.ephemeral, c.ephemeral)
}

func enough(free, want int64) bool { return want <= free || want == 0 }

// shareBits is how many bits of fraction a share of one unit has.
const shareBits = 52

// perUnit is what one free unit adds to the score, so that scores need no division: all of cpu and all of memory are half of it each.
func perUnit(alloc int64) uint64 {
	if alloc <= 0 {
		return 0
	}
	return weightFree * scoreMax / 2 << shareBits / uint64(alloc)
}

// part is what the free units add to the score.
func part(free int64, per uint64) int64 {
	if free <= 0 {
		return 0
	}
	return int64(uint64(free) * per >> shareBits) // no overflow: free is at most what per was made of
}

// wants is what a round asks of rows, as the loop over all nodes likes to have it.
type wants struct {
	cpuMilli, memory, ephemeral int64 // the least that there can be for what is not asked for
	scoreCPU, scoreMemory       int64
	base, sign                  int64 // of what is free, in the score
}

func (r *round) wants() wants {
	c := r.c
	w := wants{asked(c.cpuMilli), asked(c.memory), asked(c.ephemeral), c.scoreCPU, c.scoreMemory, scoreBias, 1}
	if r.t.packs {
		w.base, w.sign = scoreBias+weightFree*scoreMax, -1
	}
	return w
}

func asked(n int64) int64 {
	if n == 0 {
		return math.MinInt64
	}
	return n
}

// fit is row.takes.
func (w *wants) fit(r *row) bool {
	return r.pods > 0 && r.cpuMilli >= w.cpuMilli && r.memory >= w.memory && r.ephemeral >= w.ephemeral
}

// score is what the row itself has to say.
func (w *wants) score(r *row) int64 {
	return w.base + w.sign*(part(r.loadCPU-w.scoreCPU, r.perCPU)+part(r.loadMemory-w.scoreMemory, r.perMemory))
}

// pack makes a key of a score, the row's tie-break and the slot.
func (r *row) pack(score int64, i int32) uint64 {
	return uint64(min(max(score, 1), 1<<keyScoreBits-1))<<(keyTieBits+keyNodeBits) | uint64(r.tie)<<keyNodeBits | uint64(i)
}
