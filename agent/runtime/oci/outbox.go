package oci

import (
	"sync"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// outbox delivers ends in order, however slowly they are taken. It holds at most one entry a container.
type outbox struct {
	ch   chan runtime.Container // unbuffered: a taken entry is a delivered one
	stop chan struct{}
	done chan struct{}

	mu     sync.Mutex
	queue  []delivery
	wake   chan struct{} // capacity 1: a token means that queue or open may have changed
	open   bool          // List was called, so ends may flow
	closed bool
}

type delivery struct {
	exit  runtime.Container
	taken func()
}

func newOutbox() *outbox {
	o := &outbox{
		ch:   make(chan runtime.Container),
		stop: make(chan struct{}),
		done: make(chan struct{}),
		wake: make(chan struct{}, 1),
	}
	go o.run() // ends by close, which waits
	return o
}

func (o *outbox) put(c runtime.Container, taken func()) {
	o.mu.Lock()
	o.queue = append(o.queue, delivery{c, taken})
	o.mu.Unlock()
	o.poke()
}

// start lets deliveries flow.
func (o *outbox) start() {
	o.mu.Lock()
	o.open = true
	o.mu.Unlock()
	o.poke()
}

func (o *outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outbox) next() (delivery, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.open || len(o.queue) == 0 {
		return delivery{}, false
	}
	d := o.queue[0]
	o.queue = o.queue[1:]
	return d, true
}

func (o *outbox) run() {
	defer close(o.done)
	defer close(o.ch)
	for {
		d, ok := o.next()
		if !ok {
			select {
			case <-o.wake:
			case <-o.stop:
				return
			}
			continue
		}
		select {
		case o.ch <- d.exit:
			d.taken()
		case <-o.stop:
			return
		}
	}
}

func (o *outbox) close() {
	o.mu.Lock()
	closed := o.closed
	o.closed = true
	o.mu.Unlock()
	if !closed {
		close(o.stop)
	}
	<-o.done
}
