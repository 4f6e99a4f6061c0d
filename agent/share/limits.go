package share

import "time"

const (
	// childrenMax is how many nodes are sent to one that is still fetching or has a blob, while another has fewer. A tree
	// of that width reaches a thousand nodes in six steps, each a moment behind the one before.
	childrenMax = 3
	// digestsMax bounds what a keeper remembers; the longest unasked goes first.
	digestsMax = 10_000
	// digestBytesMax is more than any digest has.
	digestBytesMax = 256
	// fetchMax is after how long without a word a node counts as no longer fetching.
	fetchMax = 10 * time.Minute
	// keptFor is how long a keeper believes that a node still has a blob.
	keptFor = 24 * time.Hour

	// askTimeout bounds a question to a keeper, the dialling included; then the next keeper is asked.
	askTimeout = time.Second
	// keepersAsked is how many nodes are tried as a digest's keeper.
	keepersAsked = 2
	// openTimeout bounds how long a node may take to begin to give a blob.
	openTimeout = 2 * time.Second
	// giversTried is how many nodes are tried for one stretch of a blob before the registry is.
	giversTried = 2

	// uploadsMax is how many blobs a node gives at once; others are sent away and go to the registry.
	uploadsMax = 16
	// takeTimeout is how long a node may leave what it is given unread.
	takeTimeout = 30 * time.Second
	// idleMax is how long an unused connection to another node is kept.
	idleMax = time.Minute
	// givenAtOnce is how many bytes are given between two looks at the rate.
	givenAtOnce = 64 << 10
)
