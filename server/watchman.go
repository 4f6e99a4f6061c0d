package server

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/peapod-sh/peapod/rpc/liveness"
)

// verdictsMax is how many verdicts may wait for the term's loop.
const verdictsMax = 4096

// Gossip is what other members say of a node.
type Gossip interface {
	State(name string) liveness.State
}

// watchman hears the heartbeats of all nodes, on every server, so that a new leader knows at once who
// lives. Only a term ticks it.
type watchman struct {
	now    func() time.Time
	gossip Gossip
	quorum func() bool // a majority of the servers answers this one

	mu      sync.Mutex
	tracker *liveness.Tracker
	streams map[string]int // open heartbeat streams of each node
}

func newWatchman(now func() time.Time, g Gossip, quorum func() bool) *watchman {
	return &watchman{now: now, gossip: g, quorum: quorum, tracker: liveness.New(liveness.Default()), streams: map[string]int{}}
}

func (w *watchman) connected(nodes []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	for _, n := range nodes {
		w.streams[n]++
		w.tracker.Reconnected(n, now)
	}
}

func (w *watchman) heartbeat(nodes []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	for _, n := range nodes {
		w.tracker.Heartbeat(n, now)
	}
}

// lastHeard is when this server last heard of a node.
func (w *watchman) lastHeard(node string) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tracker.Last(node)
}

// broken notes the end of one heartbeat stream; while a node has another one it is not cut off.
func (w *watchman) broken(nodes []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	for _, n := range nodes {
		if w.streams[n]--; w.streams[n] > 0 {
			continue
		}
		delete(w.streams, n)
		w.tracker.Broken(n, now)
	}
}

// begin starts a term's watch: the silence of nodes that nobody has heard of here begins now, and
// those that are heard are reported alive, whatever an earlier leader thought of them.
func (w *watchman) begin(nodes []string) []liveness.Transition {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tracker.Begin()
	var alive []liveness.Transition
	for _, n := range nodes {
		if w.streams[n] > 0 {
			alive = append(alive, liveness.Transition{Node: n, Change: liveness.Revived})
		} else {
			w.tracker.Expect(n, w.now())
		}
	}
	return alive
}

// tick measures silence and says when to do so again.
func (w *watchman) tick() ([]liveness.Transition, time.Duration) {
	evidence := liveness.Evidence{Gossip: w.gossip.State, Quorum: w.quorum()}
	w.mu.Lock()
	defer w.mu.Unlock()
	found := w.tracker.Tick(w.now(), evidence)
	return found, w.tracker.Pace()
}

// Run ticks for one term and sends verdicts.
func (w *watchman) Run(ctx context.Context, verdicts chan<- liveness.Transition) error {
	for {
		found, pace := w.tick()
		for _, v := range found {
			select {
			case verdicts <- v:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		select {
		case <-time.After(pace):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// nodeNames are the nodes that the state knows.
func (s *Server) nodeNames() []string {
	var out []string
	s.state.Table(nodesResource).Ascend("", "", func(_, name string, _ runtime.Object) bool {
		out = append(out, name)
		return true
	})
	return out
}
