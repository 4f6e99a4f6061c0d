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

// latency is one loop's share of it.
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

func (t *target) latency() (sum Latency) {
	for i := range t.stats {
		l := &t.stats[i].latency
		for b := range l.buckets {
			sum.Buckets[b] += l.buckets[b].Load()
		}
		sum.Sum += time.Duration(l.sum.Load())
	}
	return sum
}
