package gcpace

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	usual = 100 // percent of the live heap that may be allocated before the next collection
	most  = 400
	least = 40 // of a quiet heap
	step  = 25
	// busy is how soon after the last a collection must come to be one of many, and quiet how late to be one of few.
	busy  = 5 * time.Second
	quiet = 10 * time.Second
)

// Start paces collections until stop is called: a busy heap may grow to floor bytes.
func Start(floor uint64) (stop func()) {
	p := &pacer{floor: floor, last: time.Now(), set: usual, settle: debug.FreeOSMemory}
	p.rest = time.AfterFunc(quiet, p.rested)
	p.arm()
	return p.stop
}

type pacer struct {
	floor  uint64
	settle func()
	rest   *time.Timer // runs out when there was no collection for a while

	mu      sync.Mutex
	last    time.Time
	set     int
	settled bool // since the heap was busy
	stopped bool
}

// sentinel is garbage at once, so that its finalizer runs after each collection.
type sentinel struct{ _ [16]byte }

func (p *pacer) arm() {
	runtime.SetFinalizer(&sentinel{}, func(*sentinel) { p.collected() })
}

func (p *pacer) collected() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	now := time.Now()
	since := now.Sub(p.last)
	p.pace(percent(live(), p.floor, since))
	p.settled = p.settled && since > busy
	p.last = now
	p.rest.Reset(quiet)
	p.arm()
}

func (p *pacer) pace(want int) {
	if want != p.set {
		debug.SetGCPercent(want) // stops the world
		p.set = want
	}
}

// rested gives a burst's memory back once: the next collection of a heap that had room to double may be minutes away, and Go's own
// return of memory leaves what the heap may grow to.
func (p *pacer) rested() {
	p.mu.Lock()
	if p.stopped || p.settled {
		p.mu.Unlock()
		return
	}
	p.settled = true
	p.pace(least)
	p.mu.Unlock()
	p.settle()
}

func (p *pacer) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	p.rest.Stop()
	p.pace(usual)
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
