package fence

import (
	"sync"
	"time"
)

// Leases is what the leader of one term knows of the nodes' leases. A new term makes a new one: what earlier leaders
// granted they granted before it began. It is safe for concurrent use.
type Leases struct {
	times Times
	start time.Time // of the term: no earlier leader could confirm itself after it

	mu    sync.Mutex
	nodes map[string]standing
}

// standing is a node's. The zero value is that of a node of which the term knows nothing: it gets no lease.
type standing struct {
	allowed bool
	granted time.Time // when its last question that was granted came; zero is none in this term
}

// NewLeases begins a term at a time at which it was already won.
func NewLeases(times Times, start time.Time) *Leases {
	return &Leases{times: times, start: start, nodes: map[string]standing{}}
}

// Times are the rule's numbers.
func (l *Leases) Times() Times { return l.times }

// Allow lets a node have leases. The caller has seen to it that nothing which it decided while the node was barred can still
// be committed later.
func (l *Leases) Allow(node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.nodes[node]
	s.allowed = true
	l.nodes[node] = s
}

// Bar gives a node no more leases, and says when the last one that it can hold has ended, deaths included.
func (l *Leases) Bar(node string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.nodes[node]
	s.allowed = false
	l.nodes[node] = s
	last := l.start
	if s.granted.After(last) {
		last = s.granted
	}
	return last.Add(l.times.Wait())
}

// Allowed says whether it is worth confirming the leadership for a node's question.
func (l *Leases) Allowed(node string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.times.Lease > 0 && l.nodes[node].allowed
}

// Grant notes a question that came at a time after which the leadership was confirmed, and says whether it is granted.
func (l *Leases) Grant(node string, asked time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.nodes[node]
	if !s.allowed || l.times.Lease == 0 {
		return false
	}
	if asked.After(s.granted) {
		s.granted = asked
		l.nodes[node] = s
	}
	return true
}
