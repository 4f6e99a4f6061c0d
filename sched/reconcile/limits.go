package reconcile

import "time"

const (
	// Rows an op may have, so that a log entry stays below 256 KB.
	planRowsMax   = 2000
	bindRowsMax   = 1500
	deleteRowsMax = 1500
	statusRowsMax = 300

	// eventsPerStepMax is how many events about single pods one controller writes about one batch;
	// a bigger batch gets one event that says how many.
	eventsPerStepMax = 20
	// podEventsBurst is how many events about single pods may be written at once after a quiet time.
	podEventsBurst = 1000
	// crowdedWorkloads is how many workloads say something within two pauses before a pause becomes crowdedPauses as long.
	crowdedWorkloads = 64
	crowdedPauses    = 5
	// eventSlots is how many different messages of one reason an object keeps. Of those about its single pods, of which it may have
	// thousands, podEventSlots are enough.
	eventSlots    = 1024
	podEventSlots = 16

	// loadedAtOnce is how many pods are taken in between two looks at who waits for the processor.
	loadedAtOnce = 32

	// sliceEndpointsMax and endpointsAddressesMax are Kubernetes' own limits.
	sliceEndpointsMax     = 100
	endpointsAddressesMax = 1000

	// A key whose op failed is decided again at once this many times, then with growing delays.
	retriesAtOnce = 3
	retryDelayMin = 20 * time.Millisecond
	retryDelayMax = 5 * time.Second

	// ingressAddressesMax is how many nodes' addresses an ingress says; more help nobody, and each would be one in every ingress.
	ingressAddressesMax = 32

	// strayNodeGrace is how long a pod may name a node that was never seen.
	strayNodeGrace = 40 * time.Second

	// endedPodsPause is how long too many pods that have ended may stay before the oldest are deleted.
	endedPodsPause = 20 * time.Second

	// rangePause is how long a range of service addresses is deleting before it goes, so that every server has stopped to give
	// addresses from it.
	rangePause = 2 * time.Second

	// jobPodsPerStepMax is how many pods of one job a step starts or takes away, where each is written by itself, and uncountedPodsMax
	// how many ended ones its status names at once.
	jobPodsPerStepMax = 500
	uncountedPodsMax  = 500

	// generatedPrefixMax is how much of a name stands before the suffix, so that the whole is a host name.
	generatedPrefixMax = 63 - suffixLength

	// evictionTimeout is how long a pod may be counted as evicted without being deleted.
	evictionTimeout = 2 * time.Minute
	// smallMap is how many entries a map may have had that is emptied and used again.
	smallMap = 64

	// suffixLength is that of generated names.
	suffixLength = 5
)
