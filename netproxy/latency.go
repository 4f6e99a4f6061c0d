package netproxy

import (
	"sync/atomic"
	"time"
)

// LatencyBounds are the upper bounds of Latency's buckets but the last, which has none.
var LatencyBounds = [...]time.Duration{100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond,
	2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond, 250 * time.Millisecond, time.Second}

// Latency counts the times that dials took which succeeded.
type Latency struct {
	Buckets [len(LatencyBounds) + 1]uint64 // not cumulative
	Sum     time.Duration
}

// latency is what loops count of it.
type latency struct {
	buckets [len(LatencyBounds) + 1]atomic.Uint64
	sum     atomic.Int64
}

func (l *latency) observe(d time.Duration) {
	i := 0
	for i < len(LatencyBounds) && d > LatencyBounds[i] {
		i++
	}
	l.buckets[i].Add(1)
	l.sum.Add(int64(d))
}

// addTo adds what has been counted so far.
func (l *latency) addTo(sum *Latency) {
	for b := range l.buckets {
		sum.Buckets[b] += l.buckets[b].Load()
	}
	sum.Sum += time.Duration(l.sum.Load())
}

func (t *target) latency() (sum Latency) {
	for i := range t.stats {
		t.stats[i].latency.addTo(&sum)
	}
	return sum
}

// observe counts a dial. A cluster has a hundred thousand endpoints of which a node dials few, so only those that were have counters.
func (b *backend) observe(d time.Duration) {
	l := b.dials.Load()
	if l == nil {
		b.dials.CompareAndSwap(nil, new(latency))
		l = b.dials.Load()
	}
	l.observe(d)
}

func (b *backend) latency() (sum Latency) {
	if l := b.dials.Load(); l != nil {
		l.addTo(&sum)
	}
	return sum
}
