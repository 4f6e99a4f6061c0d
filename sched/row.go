package sched

import "math/bits"

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

// perUnit is the share of the node that one unit is, so that scores need no division.
func perUnit(alloc int64) uint64 {
	if alloc <= 0 {
		return 0
	}
	return scoreMax << shareBits / uint64(alloc)
}

// part is the part of scoreMax that free is.
func part(free int64, per uint64) int64 {
	if free <= 0 {
		return 0
	}
	high, low := bits.Mul64(uint64(free), per)
	return int64(high<<(64-shareBits) | low>>shareBits)
}

// free is the mean share of cpu and memory that stays free once the pod is there, weighted.
func (r *row) free(c *class) int64 {
	return weightFree * (part(r.loadCPU-c.scoreCPU, r.perCPU) + part(r.loadMemory-c.scoreMemory, r.perMemory)) / 2
}
