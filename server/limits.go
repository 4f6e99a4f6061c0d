package server

import "time"

// Limits of a server. Past them there is a clear error or back-pressure, never a silent loss.
const (
	// entryBytesMax bounds a log entry: raft's batches count entries, not bytes.
	entryBytesMax = 256 << 10
	// entryProposalsMax bounds the proposals that share an entry.
	entryProposalsMax = 512
	// entriesInFlightMax bounds entries handed to raft and not yet applied.
	entriesInFlightMax = 1
	// promptBeforeBulk is how much weight of entries passes statuses of pods by before some of them are next. An entry of a large plan has
	// some 2,000 pods, one of statuses 300, and each costs a write of three disks: by turns, statuses made a plan of many entries take twice as long.
	promptBeforeBulk = 4 * entryBytesMax
	// forwardsInFlightMax bounds batches on their way to the leader.
	forwardsInFlightMax = 2
	// forwardedBulk is the size from which a follower's batch counts as statuses of pods.
	forwardedBulk = 16 << 10
	// proposalsWaitingMax bounds proposals not yet in an entry, of each lane; past it Propose waits.
	proposalsWaitingMax = 4096
	// proposalBytesMax refuses a single proposal that could never be an entry.
	proposalBytesMax = 8 << 20

	// proposeTimeout is how long a write waits for a leader if its caller set no deadline.
	proposeTimeout = 10 * time.Second
	// beginTimeout is how long a term's first writes may take: what ends them is the end of the term.
	beginTimeout = 5 * time.Minute
	// retryPause is how long a write waits before it asks again who leads.
	retryPause = 10 * time.Millisecond
	// nudgePause is how long the log may be quiet before the followers are told what is committed.
	nudgePause = time.Millisecond
	// enqueueTimeout is raft's own bound for taking an entry over.
	enqueueTimeout = 5 * time.Second

	// fleetNodesMax bounds the nodes for which one agent speaks.
	fleetNodesMax = 1 << 15
	// nodeDialWait is how long a request for a node's handler waits for the node to connect.
	nodeDialWait = 2 * time.Second
	// announcePause is how long a server waits before it tells the cluster again where it is.
	announcePause = 200 * time.Millisecond
	// adminValidity of the client certificates in kubeconfigs.
	adminValidity = 365 * 24 * time.Hour

	// trimInterval is how often old watch history is dropped.
	trimInterval = time.Minute
	// housekeepInterval is how often the leader brings slow things up to date.
	housekeepInterval = 2 * time.Second
	// expireEvery is after how many of these rounds it looks for objects whose time to live is over, and for what every cluster has.
	expireEvery = 15
	// endedPodsMax caps the pods that are kept when they have ended; it is Kubernetes' number.
	endedPodsMax = 12500

	// statusPause is how long a status that only counts waits after the last one: nobody who looks sees it, and pods that start on
	// many nodes are one write instead of one for each.
	statusPause = 100 * time.Millisecond
	// breathInterval is how long the leader's work goes on before others may have its processor.
	breathInterval = 2 * time.Millisecond
	// podRowWeight is how many of an entry's bytes a pod that a term makes, binds or deletes counts for. It has 25 to 60, but takes 3 to 5 us to
	// apply, and until all of an entry is applied nobody reads: an entry of 10,000 pods is 30 to 50 ms, one of 2,000 less than 10.
	podRowWeight = 96
	// podEventsPerSecond is how many events about single pods the controllers write for long; Kubernetes' own controllers drop what is
	// beyond 20 to 100 requests a second.
	podEventsPerSecond = 100
	// eventsPerNamespaceMax caps the events kept in a namespace.
	eventsPerNamespaceMax = 5000
)
