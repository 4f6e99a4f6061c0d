package image

import (
	"context"
	"sync"
)

// Progress tells how far a pull is. Calls come one at a time and must return quickly.
type Progress struct {
	Ref    string // canonical
	Layer  string // digest; "" speaks of the whole image
	Phase  Phase
	Bytes  int64 // of this layer so far
	Total  int64 // of this layer
	Layers int   // of the image
}

// Phase is what is being done.
type Phase string

// The phases, in the order of a pull. Exists replaces Downloading and Unpacking.
const (
	Resolving   Phase = "resolving"
	Exists      Phase = "exists"
	Downloading Phase = "downloading"
	Unpacking   Phase = "unpacking"
	Done        Phase = "done"
)

// flights makes one work of many wishes: callers of the same key share a run. It goes on as long as
// one caller still waits, so that a caller who gives up spoils nothing for the others.
type flights struct {
	mu      sync.Mutex
	running map[string]*flight
	wg      sync.WaitGroup
}

type flight struct {
	cancel    context.CancelFunc
	done      chan struct{} // closed when err is set
	err       error
	mu        sync.Mutex
	listeners map[int]func(Progress)
	joined    int // callers ever, also the next listener's key
	waiting   int // callers now; guarded by flights.mu
}

// do runs work, or waits for the run of the same key that is under way.
func (f *flights) do(ctx context.Context, key string, listen func(Progress), work func(context.Context, func(Progress)) error) error {
	fl, id := f.join(ctx, key, listen, work)
	defer f.leave(key, fl, id)
	select {
	case <-fl.done:
		return fl.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *flights) join(ctx context.Context, key string, listen func(Progress), work func(context.Context, func(Progress)) error) (*flight, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl, ok := f.running[key]
	if !ok {
		run, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight{cancel: cancel, done: make(chan struct{}), listeners: map[int]func(Progress){}}
		if f.running == nil {
			f.running = map[string]*flight{}
		}
		f.running[key] = fl
		f.wg.Go(func() { f.run(run, key, fl, work) })
	}
	fl.waiting++
	return fl, fl.listen(listen)
}

func (f *flights) run(ctx context.Context, key string, fl *flight, work func(context.Context, func(Progress)) error) {
	defer fl.cancel()
	fl.err = work(ctx, fl.tell)
	f.mu.Lock()
	if f.running[key] == fl {
		delete(f.running, key)
	}
	f.mu.Unlock()
	close(fl.done)
}

// leave cancels a run that nobody waits for and takes it off the table, so that a later caller
// starts afresh instead of inheriting the cancellation.
func (f *flights) leave(key string, fl *flight, id int) {
	fl.mu.Lock()
	delete(fl.listeners, id)
	fl.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.waiting--
	if fl.waiting == 0 {
		fl.cancel()
		if f.running[key] == fl {
			delete(f.running, key)
		}
	}
}

func (f *flights) wait() { f.wg.Wait() }

func (fl *flight) listen(l func(Progress)) int {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.joined++
	if l != nil {
		fl.listeners[fl.joined] = l
	}
	return fl.joined
}

func (fl *flight) tell(p Progress) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	for _, l := range fl.listeners {
		l(p)
	}
}
