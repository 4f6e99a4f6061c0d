package fsm

import "time"

// Limits of what the state keeps in memory beside the objects themselves.
const (
	// ringEventsMax is how many recent changes a table keeps for watchers that resume.
	ringEventsMax = 8192
	// ringEventsKeep is how many of them survive a Trim although they are old.
	ringEventsKeep = 256
	// departedMax is how many deletions a table remembers for nodes that come back: some 200 bytes each.
	departedMax = 16384
	// tailEventsMax is how many changes may wait in a Tail before it is cut off.
	tailEventsMax = 1 << 20
	// snapshotItemBytesMax refuses a snapshot whose one item claims to be larger: it is damaged.
	snapshotItemBytesMax = 64 << 20
	// crowdMin is how many cursors make a crowd, which is woken at intervals: wakeCost for each, about what a watch and its client need for
	// a message, and notifyRestMax at most.
	crowdMin      = 100
	wakeCost      = 20 * time.Microsecond
	notifyRestMax = 20 * time.Millisecond
)
