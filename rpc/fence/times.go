package fence

import (
	"fmt"
	"time"
)

// Times are the rule's numbers, the same in all of a cluster.
type Times struct {
	// Lease is for how long a node may run single-writer pods after it asked a leader that a majority followed. Zero turns
	// fencing off: nothing is stopped, and what cannot run twice is not replaced.
	Lease time.Duration
	// Margin is what the processes of a node may take to die once their lease has ended.
	Margin time.Duration
	// DriftParts bounds how much faster or slower than true time a clock may run: by one part in so many.
	DriftParts int64
}

// LeaseMin is the shortest lease: a leader's succession, with the node's questions before and after it, must fit in.
const LeaseMin = 4 * time.Second

// Default brings a replacement 8 to 10 s after the death of a node.
func Default() Times {
	return Times{Lease: 8 * time.Second, Margin: 2 * time.Second, DriftParts: 1000}
}

// Check says what is wrong with the numbers.
func (t Times) Check() error {
	if t.Lease != 0 && t.Lease < LeaseMin {
		return fmt.Errorf("a fencing time of %v is too short for a change of leaders: use 0 for none, or at least %v", t.Lease, LeaseMin)
	}
	return nil
}

// Renew is the time between a node's questions: three of four may go unanswered.
func (t Times) Renew() time.Duration { return t.Lease / 4 }

// Wait is how long a leader waits, by its own clock, after a node's last question that it granted: the node's clock may run
// slow by the bound, its own fast.
func (t Times) Wait() time.Duration {
	longest := t.Lease + t.Lease/time.Duration(t.DriftParts-1) + 1 + t.Margin
	return longest + longest/time.Duration(t.DriftParts) + 1
}
