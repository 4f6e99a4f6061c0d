package fence

import (
	"maps"
	"slices"
	"time"
)

// Lease is a node's own. Times are readings of one clock that never stops and is never set (CLOCK_BOOTTIME). The zero value is
// a lease that has ended. Its owner serialises the calls.
type Lease struct {
	until time.Duration
}

// Renew takes an answer in: the lease of a question lasts from when it was asked, whenever the answer came.
func (l *Lease) Renew(asked, length time.Duration) {
	l.until = max(l.until, asked+length)
}

// Until is the end.
func (l *Lease) Until() time.Duration { return l.until }

// Valid says whether it has not ended.
func (l *Lease) Valid(now time.Duration) bool { return now < l.until }

// Guards says what a supervisor does: which pods may run. It is the model of agent/supervisor/fence.c.
type Guards struct {
	lease Lease
	pods  map[string]bool // true while it may run
}

// NewGuards guards nothing.
func NewGuards() *Guards { return &Guards{pods: map[string]bool{}} }

// Guard lets a pod run until the lease ends, and says whether the lease that the caller holds has not ended. The caller has
// read, after it asked for that lease, that the pod is still its node's.
func (g *Guards) Guard(pod string, until, now time.Duration) (ok bool, kill []string) {
	kill = g.Extend(until, now)
	g.pods[pod] = now < until
	return g.pods[pod], kill
}

// Drop forgets a pod that has ended.
func (g *Guards) Drop(pod string) { delete(g.pods, pod) }

// Extend takes over a longer lease. What was stopped before stays stopped: it may be another node's by now.
func (g *Guards) Extend(until, now time.Duration) (kill []string) {
	kill = g.Expire(now)
	g.lease.until = max(g.lease.until, until)
	return kill
}

// Expire returns the pods that are to be killed now: once each, by name.
func (g *Guards) Expire(now time.Duration) (kill []string) {
	if g.lease.Valid(now) {
		return nil
	}
	for _, pod := range slices.Sorted(maps.Keys(g.pods)) {
		if g.pods[pod] {
			g.pods[pod] = false
			kill = append(kill, pod)
		}
	}
	return kill
}

// Until is when the lease ends.
func (g *Guards) Until() time.Duration { return g.lease.until }

// MayStart says whether a process of the pod may be let go.
func (g *Guards) MayStart(pod string, now time.Duration) bool {
	return g.pods[pod] && g.lease.Valid(now)
}
