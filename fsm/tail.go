package fsm

import (
	"context"
	"sync"

	"github.com/peapod-sh/peapod/api"
)

// Tail is a queue of changes, filled at commit, for the few who must see them in the order of
// revisions over several tables: the leader's controllers and the node agents' streams.
type Tail struct {
	f    *FSM
	want func(*api.Change) bool

	mu       sync.Mutex
	queue    []*api.Change
	overflow bool
	closed   bool
	ready    chan struct{} // capacity 1
}

// TailAll takes a picture of the state and opens a tail on every change after it that want accepts.
// want runs under the state's lock: it must be quick and must not call the FSM.
func (f *FSM) TailAll(want func(*api.Change) bool) (*View, *Tail) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := &Tail{f: f, want: want, ready: make(chan struct{}, 1)}
	f.tails = append(f.tails, t)
	return f.viewLocked(), t
}

// TailNode is TailAll for a node agent: the records of its pods at this moment, and the changes of
// these and of the tables in also.
func (f *FSM) TailNode(node string, also func(*api.Change) bool) (*View, []*api.PodRecord, *Tail) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := &Tail{f: f, ready: make(chan struct{}, 1), want: func(c *api.Change) bool {
		if c.Resource != Pods {
			return also(c)
		}
		return c.OldPod != nil && c.OldPod.Node == node || c.NewPod != nil && c.NewPod.Node == node
	}}
	f.tails = append(f.tails, t)
	return f.viewLocked(), f.podsOfNodeLocked(node), t
}

func (t *Tail) offer(c *api.Change) {
	if !t.want(c) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.overflow || t.closed {
		return
	}
	if len(t.queue) >= tailEventsMax {
		t.overflow, t.queue = true, nil
		return
	}
	t.queue = append(t.queue, c)
}

func (t *Tail) signal() {
	t.mu.Lock()
	pending := len(t.queue) > 0 || t.overflow
	t.mu.Unlock()
	if !pending {
		return
	}
	select {
	case t.ready <- struct{}{}:
	default:
	}
}

// Ready receives when there may be something to take.
func (t *Tail) Ready() <-chan struct{} { return t.ready }

// Take returns what has come since the last call, without waiting. ErrOverflow ends the tail.
func (t *Tail) Take() ([]*api.Change, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.overflow {
		return nil, ErrOverflow
	}
	if t.closed {
		return nil, ErrClosed
	}
	out := t.queue
	t.queue = nil
	return out, nil
}

// Next waits for changes and takes them.
func (t *Tail) Next(ctx context.Context) ([]*api.Change, error) {
	for {
		if out, err := t.Take(); err != nil || len(out) > 0 {
			return out, err
		}
		select {
		case <-t.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Close stops the tail; it must be called.
func (t *Tail) Close() {
	t.f.mu.Lock()
	defer t.f.mu.Unlock()
	for i, x := range t.f.tails {
		if x == t {
			t.f.tails = append(t.f.tails[:i:i], t.f.tails[i+1:]...)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed, t.queue = true, nil
}
