package server

import (
	"context"
	"sync"
)

// barrier confirms with a quorum that reads may be served, once for all readers who wait: a reader
// that comes while a round is under way waits for the next one, since the index of the running
// round may be older than a write acknowledged before the reader came.
type barrier struct {
	confirm func(ctx context.Context) (index uint64, err error)

	mu      sync.Mutex
	running bool   // a round is under way
	next    *round // of those who came since it began
}

type round struct {
	done  chan struct{}
	index uint64
	err   error
}

// Index returns a log index that is at least as new as every write acknowledged before the call.
func (b *barrier) Index(ctx context.Context) (uint64, error) {
	b.mu.Lock()
	if b.next == nil {
		b.next = &round{done: make(chan struct{})}
	}
	r := b.next
	if !b.running {
		b.running = true
		go b.run()
	}
	b.mu.Unlock()
	select {
	case <-r.done:
		return r.index, r.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// run serves rounds until nobody waits; it lives no longer than one quorum round trip after that.
func (b *barrier) run() {
	for {
		b.mu.Lock()
		r := b.next
		b.next = nil
		if r == nil {
			b.running = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), proposeTimeout)
		r.index, r.err = b.confirm(ctx)
		cancel()
		close(r.done)
	}
}
