package gcpace

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"
)

const (
	usual = 100 // percent of the live heap that may be allocated before the next collection
	most  = 400
	least = 40 // of a quiet heap
	step  = 25
	// busy is how soon after the last a collection must come to be one of many, and quiet how late to be one of few.
	busy  = time.Second
	quiet = 10 * time.Second
)

// Start paces collections until stop is called: a busy heap may grow to floor bytes.
func Start(floor uint64) (stop func()) {
	p := &pacer{floor: floor, last: time.Now(), set: usual}
	p.arm()
	return func() { p.stopped.Store(true) }
}

type pacer struct {
	floor   uint64
	last    time.Time // only the finalizer's goroutine uses it and set
	set     int
	stopped atomic.Bool
}

// sentinel is garbage at once, so that its finalizer runs after each collection.
type sentinel struct{ _ [16]byte }

func (p *pacer) arm() {
	runtime.SetFinalizer(&sentinel{}, func(*sentinel) { p.collected() })
}

func (p *pacer) collected() {
	if p.stopped.Load() {
		debug.SetGCPercent(usual)
		return
	}
	now := time.Now()
	if want := percent(live(), p.floor, now.Sub(p.last)); want != p.set {
		debug.SetGCPercent(want) // stops the world
		p.set = want
	}
	p.last = now
	p.arm()
}

// percent lets a heap of live bytes grow to floor, within bounds, if collections follow one another soon. If they are rare it gives
// memory back, for some more of them.
func percent(live, floor uint64, since time.Duration) int {
	switch {
	case since > quiet:
		return least
	case since > busy || live == 0 || live >= floor:
		return usual
	}
	return int(min(most, max(usual, 100*(floor-live)/live))) / step * step
}

func live() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
