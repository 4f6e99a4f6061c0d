package ends

import (
	"sync"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// Outbox delivers ends in order, however slowly they are taken. It holds at most one entry a container.
type Outbox struct {
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

// NewOutbox makes one that delivers nothing before Start.
func NewOutbox() *Outbox {
	o := &Outbox{
		ch:   make(chan runtime.Container),
		stop: make(chan struct{}),
		done: make(chan struct{}),
		wake: make(chan struct{}, 1),
	}
	go o.run() // ends by Close, which waits
	return o
}

// Put queues an end; taken is called when somebody has received it.
func (o *Outbox) Put(c runtime.Container, taken func()) {
	o.mu.Lock()
	o.queue = append(o.queue, delivery{c, taken})
	o.mu.Unlock()
	o.poke()
}

// Start lets deliveries flow.
func (o *Outbox) Start() {
	o.mu.Lock()
	o.open = true
	o.mu.Unlock()
	o.poke()
}

func (o *Outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *Outbox) next() (delivery, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.open || len(o.queue) == 0 {
		return delivery{}, false
	}
	d := o.queue[0]
	o.queue = o.queue[1:]
	return d, true
}

func (o *Outbox) run() {
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

// Exits is where ends come out; it is closed by Close.
func (o *Outbox) Exits() <-chan runtime.Container { return o.ch }

// Close ends the delivery; what was not taken is lost here.
func (o *Outbox) Close() {
	o.mu.Lock()
	closed := o.closed
	o.closed = true
	o.mu.Unlock()
	if !closed {
		close(o.stop)
	}
	<-o.done
}
