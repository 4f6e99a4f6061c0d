package server

import (
	"context"
	"sync"
	"time"

	"github.com/peapod-sh/peapod/rpc/gossip"
	"github.com/peapod-sh/peapod/rpc/liveness"
)

// tickInterval is how often silence is measured; the death rule needs it to notice our own pauses.
const tickInterval = 25 * time.Millisecond

// verdictsMax is how many verdicts may wait for the term's loop.
const verdictsMax = 4096

// Gossip is what other members say of a node.
type Gossip interface {
	State(name string) gossip.State
}

// watchman hears the heartbeats of all nodes, on every server, so that a new leader knows at once who
// lives. Only a term ticks it.
type watchman struct {
	now    func() time.Time
	gossip Gossip

	mu      sync.Mutex
	tracker *liveness.Tracker
}

func newWatchman(now func() time.Time, g Gossip) *watchman {
	return &watchman{now: now, gossip: g, tracker: liveness.New(liveness.DefaultConfig())}
}

func (w *watchman) with(do func(*liveness.Tracker)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do(w.tracker)
}

func (w *watchman) connected(node string) {
	w.with(func(t *liveness.Tracker) { t.Reconnected(node, w.now()) })
}
func (w *watchman) heartbeat(node string) {
	w.with(func(t *liveness.Tracker) { t.Heartbeat(node, w.now()) })
}
func (w *watchman) broken(node string) {
	w.with(func(t *liveness.Tracker) { t.Broken(node, w.now()) })
}
func (w *watchman) forget(node string) { w.with(func(t *liveness.Tracker) { t.Forget(node) }) }

// Run ticks for one term and sends verdicts.
func (w *watchman) Run(ctx context.Context, verdicts chan<- liveness.Transition) error {
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		var found []liveness.Transition
		w.with(func(t *liveness.Tracker) { found = t.Tick(w.now(), w.gossip.State) })
		for _, v := range found {
			select {
			case verdicts <- v:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}
