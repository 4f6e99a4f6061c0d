package fsm

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
)

// ring keeps a table's recent changes for watchers that resume. floor is the highest revision
// whose changes may be missing; events[i].Revision grows.
type ring struct {
	mu     sync.RWMutex
	events []*api.Change // the oldest at start, wrapping around once full
	start  int
	first  uint64 // sequence number of the oldest
	floor  uint64
	wake   chan struct{}
	marked bool // guarded by the notifier
	// waiting is how many cursors wait for wake to be closed.
	waiting atomic.Int64
	// changes counts what happened to the table, a Restore included. Written under the state's lock, read without.
	changes atomic.Uint64
}

func newRing(floor uint64) *ring { return &ring{floor: floor, wake: make(chan struct{})} }

func (r *ring) add(c *api.Change) {
	r.changes.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) < ringEventsMax {
		r.events = append(r.events, c)
		return
	}
	r.floor = r.events[r.start].Revision
	r.events[r.start] = c
	r.start = (r.start + 1) % len(r.events)
	r.first++
}

func (r *ring) at(seq uint64) *api.Change {
	return r.events[(r.start+int(seq-r.first))%len(r.events)]
}

func (r *ring) end() uint64 { return r.first + uint64(len(r.events)) }

// seek finds the sequence number of the first change after a revision.
func (r *ring) seek(after uint64) (uint64, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if after < r.floor {
		return 0, ErrTooOld
	}
	lo, hi := r.first, r.end()
	for lo < hi {
		if mid := lo + (hi-lo)/2; r.at(mid).Revision > after {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo, nil
}

// read returns up to limit changes from seq on, or a channel to wait on.
func (r *ring) read(seq uint64, limit int) ([]*api.Change, chan struct{}, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if seq < r.first {
		return nil, nil, ErrTooOld
	}
	n := min(int(r.end()-seq), limit)
	if n == 0 {
		return nil, r.wake, nil
	}
	out := make([]*api.Change, n)
	for i := range out {
		out[i] = r.at(seq + uint64(i))
	}
	return out, nil, nil
}

// trim forgets all but the newest keep changes.
func (r *ring) trim(keep int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	drop := len(r.events) - keep
	if drop <= 0 {
		return
	}
	kept := make([]*api.Change, keep)
	for i := range kept {
		kept[i] = r.at(r.first + uint64(drop+i))
	}
	r.floor = r.at(r.first + uint64(drop-1)).Revision
	r.first += uint64(drop)
	r.events, r.start = kept, 0
}

// broadcast wakes those who wait, and says how many they are.
func (r *ring) broadcast() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.wake)
	r.wake = make(chan struct{})
	return r.waiting.Load()
}

// Trim forgets old changes of every table; the server calls it now and then, so that a burst of
// statuses does not stay in memory.
func (f *FSM) Trim() {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, t := range f.tables {
		t.ring.trim(ringEventsKeep)
	}
}

// Cursor reads one table's changes in order. It holds a position, not a queue.
type Cursor struct {
	ring *ring
	next uint64
}

// cursorBatchMax is how many changes a Cursor hands over at once.
const cursorBatchMax = 128

// Watch opens a cursor on the changes of one resource after a revision. ErrTooOld if they are no
// longer all there.
func (f *FSM) Watch(gr schema.GroupResource, after uint64) (*Cursor, error) {
	f.mu.Lock()
	t := f.table(gr)
	f.mu.Unlock()
	seq, err := t.ring.seek(after)
	if err != nil {
		return nil, err
	}
	return &Cursor{ring: t.ring, next: seq}, nil
}

// Next waits for changes and returns them in order. ErrTooOld means that the cursor fell behind.
func (c *Cursor) Next(ctx context.Context) ([]*api.Change, error) {
	for {
		out, wait, err := c.ring.read(c.next, cursorBatchMax)
		if err != nil {
			return nil, err
		}
		if len(out) > 0 {
			c.next += uint64(len(out))
			return out, nil
		}
		if err := c.ring.await(ctx, wait); err != nil {
			return nil, err
		}
	}
}

func (r *ring) await(ctx context.Context, wake <-chan struct{}) error {
	r.waiting.Add(1)
	defer r.waiting.Add(-1)
	select {
	case <-wake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// notifier wakes cursors from a goroutine of its own, so that a commit does not pay for a
// thousand watchers. Where many were woken it rests before it wakes again: each then gets several changes
// at once and writes them to its client together. It lives as long as the process.
type notifier struct {
	mu    sync.Mutex
	dirty []*ring
	kick  chan struct{} // capacity 1: one pending kick is as good as many
}

func newNotifier() *notifier {
	n := &notifier{kick: make(chan struct{}, 1)}
	go n.run()
	return n
}

func (n *notifier) mark(r *ring) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !r.marked {
		r.marked = true
		n.dirty = append(n.dirty, r)
	}
}

func (n *notifier) signal() {
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

func (n *notifier) run() {
	for range n.kick {
		n.mu.Lock()
		rings := n.dirty
		n.dirty = nil
		for _, r := range rings {
			r.marked = false
		}
		n.mu.Unlock()
		woken := int64(0)
		for _, r := range rings {
			woken += r.broadcast()
		}
		if rest := restAfter(woken); rest > 0 {
			time.Sleep(rest)
		}
	}
}

// restAfter is how long to rest after having woken so many, which is nothing for a few.
func restAfter(woken int64) time.Duration {
	if woken < crowdMin {
		return 0
	}
	return min(time.Duration(woken)*wakeCost, notifyRestMax)
}
