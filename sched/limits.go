package sched

// Weights of the scores. A score is a sum of parts between 0 and scoreMax each, so that a weight
// says how much a part counts against the others.
const (
	scoreMax = 1000

	weightFree     = 1 // share of cpu and memory that stays free; or, to pack, that does not
	weightImage    = 1 // images that are there already
	weightAffinity = 2 // preferred node affinity
	weightPods     = 2 // preferred affinity between pods
	weightSpread   = 2 // topology spread that is no condition
	weightTaint    = 3 // no untolerated PreferNoSchedule taint

	// weightRequired is what a pod that requires to be near another counts for it when that one is placed, as in Kubernetes.
	weightRequired = 1

	// ownerPenalty is taken off for every pod of the same owner that a node already has. It is more
	// than weightFree can give, so that replicas spread over nodes before they fill the emptier one.
	ownerPenalty = 1200
	// zoneSkew is the skew of the spread over zones that pods have who ask for none, as in Kubernetes.
	zoneSkew = 3

	// A pod that asks for no cpu or memory is scored as if it asked for this much, as in Kubernetes,
	// so that such pods do not pile up on one node.
	scoreCPUMilliDefault = 100
	scoreMemoryDefault   = 200 << 20

	// Less than the least of images says nothing, more than the most for each container no more than that, as in Kubernetes.
	imageBytesMin = 23 << 20
	imageBytesMax = 1000 << 20
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

// verdictsMax is for how many signatures the answers of static filters are remembered.
const verdictsMax = 64
