package sched

// Weights of the scores. A score is a sum of parts between 0 and scoreMax each, so that a weight
// says how much a part counts against the others.
const (
	scoreMax = 1000

	weightFree     = 1 // share of cpu and memory that stays free
	weightAffinity = 2 // preferred node affinity
	weightTaint    = 3 // no untolerated PreferNoSchedule taint

	// ownerPenalty is taken off for every pod of the same owner that a node already has. It is more
	// than weightFree can give, so that replicas spread over nodes before they fill the emptier one.
	ownerPenalty = 1200

	// A pod that asks for no cpu or memory is scored as if it asked for this much, as in Kubernetes,
	// so that such pods do not pile up on one node.
	scoreCPUMilliDefault = 100
	scoreMemoryDefault   = 200 << 20
)

// A key packs score, tie-break and node into 64 bits: the biggest key is the best node.
const (
	keyScoreBits = 26
	keyTieBits   = 16
	keyNodeBits  = 22

	// scoreBias keeps scores with many owner penalties positive.
	scoreBias = 1 << (keyScoreBits - 2)
	// nodesMax is how many nodes a table can hold.
	nodesMax = 1 << keyNodeBits
)
