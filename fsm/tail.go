package fsm

import (
	"context"
	"slices"
	"sync"

	"github.com/peapod-sh/peapod/api"
)

// Tail is a queue of changes, filled at commit, for the few who must see them in the order of
// revisions over several tables: the leader's controllers and the node agents' streams.
type Tail struct {
	f     *FSM
	want  func(*api.Change) bool
	nodes []string               // whose pods it follows; nil follows those of all
	pods  func(*api.Change) bool // which of these nodes' pods' changes; nil is all
	moves bool                   // it also follows where other nodes' pods are, while there are network policies

	mu       sync.Mutex
	queue    []*api.Change
	overflow bool
	closed   bool
	ready    chan struct{} // capacity 1
}

// TailAll takes a picture of the state and opens a tail on every change after it that want accepts.
// want runs under the state's lock: it must be quick and must not call the FSM.
func (f *FSM) TailAll(want func(*api.Change) bool) (*View, *Tail) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := &Tail{f: f, want: want, ready: make(chan struct{}, 1)}
	f.tails.add(t)
	return f.viewLocked(), t
}

// Following is what an agent follows. Its functions run under the state's lock: they must be quick and must not call the FSM.
type Following struct {
	Nodes []string               // whose pods
	Pods  func(*api.Change) bool // which of these pods' changes; nil is all
	Moves bool                   // also where the pods of other nodes are: see Moved
	Also  func(*api.Change) bool // which changes of other tables
}

// TailNodes is TailAll for an agent: the records of its nodes' pods at this moment, and the changes that it follows.
func (f *FSM) TailNodes(what Following) (*View, []*api.PodRecord, *Tail) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := &Tail{f: f, want: what.Also, nodes: append([]string{}, what.Nodes...), pods: what.Pods, moves: what.Moves, ready: make(chan struct{}, 1)}
	f.tails.add(t)
	var pods []*api.PodRecord
	for _, n := range what.Nodes {
		pods = append(pods, f.podsOfNodeLocked(n)...)
	}
	return f.viewLocked(), pods, t
}

// tails are all that listen. With a tail a node, a pod's change must cost those that it concerns, not all.
type tails struct {
	whole     []*Tail            // follow every table
	followers []*Tail            // follow the pods of some nodes, and other tables
	byNode    map[string][]*Tail // the followers by node
	movers    []*Tail            // the followers that also follow where others' pods are
	waiting   []*Tail            // have been offered something since the last signal
}

func (s *tails) add(t *Tail) {
	if t.nodes == nil {
		s.whole = append(s.whole, t)
		return
	}
	s.followers = append(s.followers, t)
	if t.moves {
		s.movers = append(s.movers, t)
	}
	for _, n := range t.nodes {
		if s.byNode == nil {
			s.byNode = map[string][]*Tail{}
		}
		s.byNode[n] = append(s.byNode[n], t)
	}
}

func (s *tails) remove(t *Tail) {
	isT := func(x *Tail) bool { return x == t }
	for _, list := range []*[]*Tail{&s.whole, &s.followers, &s.movers, &s.waiting} {
		*list = slices.DeleteFunc(*list, isT)
	}
	for _, n := range t.nodes {
		if s.byNode[n] = slices.DeleteFunc(s.byNode[n], isT); len(s.byNode[n]) == 0 {
			delete(s.byNode, n)
		}
	}
}

// offer shows a change to those whom it may concern. Where pods are concerns all nodes, but only if it is policed.
func (s *tails) offer(c *api.Change, policed bool) {
	s.offerTo(s.whole, c)
	if c.Resource != Pods {
		s.offerTo(s.followers, c)
		return
	}
	before, after := nodeOf(c.OldPod), nodeOf(c.NewPod)
	s.offerTo(s.byNode[after], c)
	if before != after {
		for _, t := range s.byNode[before] {
			if !slices.Contains(s.byNode[after], t) && t.follows(c) {
				s.give(t, c)
			}
		}
	}
	if policed && len(s.movers) > 0 && Moved(c) {
		for _, t := range s.movers {
			if !slices.Contains(s.byNode[after], t) && !slices.Contains(s.byNode[before], t) {
				s.give(t, c)
			}
		}
	}
}

// Moved says whether a pod's change is one of its address, or of its labels and ports while it has one.
func Moved(c *api.Change) bool {
	old, now := AddressOf(c.OldPod), AddressOf(c.NewPod)
	return old != now || now != "" && c.OldPod.Template != c.NewPod.Template
}

// AddressOf is "" for a pod that has no address of its own, or has ended.
func AddressOf(p *api.PodRecord) string {
	if p == nil || p.Spec().HostNetwork || p.Terminal() {
		return ""
	}
	return p.Status.PodIP()
}

func nodeOf(p *api.PodRecord) string {
	if p == nil {
		return ""
	}
	return p.Node
}

func (s *tails) offerTo(list []*Tail, c *api.Change) {
	for _, t := range list {
		if t.follows(c) {
			s.give(t, c)
		}
	}
}

// follows says whether a tail hears of a change that is of its nodes' pods, or of another table.
func (t *Tail) follows(c *api.Change) bool {
	if c.Resource == Pods && t.nodes != nil {
		return t.pods == nil || t.pods(c)
	}
	return t.want(c)
}

func (s *tails) give(t *Tail, c *api.Change) {
	if t.push(c) {
		s.waiting = append(s.waiting, t)
	}
}

// signal wakes the readers of all that have something new.
func (s *tails) signal() {
	for _, t := range s.waiting {
		t.signal()
	}
	s.waiting = s.waiting[:0]
}

// cutOff ends all tails: their readers are to start over.
func (s *tails) cutOff() {
	for _, list := range [][]*Tail{s.whole, s.followers} {
		for _, t := range list {
			t.mu.Lock()
			t.overflow, t.queue = true, nil
			t.mu.Unlock()
			t.signal()
		}
	}
}

// push queues a change and says whether it is the first since the queue was last taken.
func (t *Tail) push(c *api.Change) (first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.overflow || t.closed {
		return false
	}
	if len(t.queue) >= tailEventsMax {
		t.overflow, t.queue = true, nil
		return true
	}
	t.queue = append(t.queue, c)
	return len(t.queue) == 1
}

func (t *Tail) signal() {
	select {
	case t.ready <- struct{}{}:
	default:
	}
}

// Ready receives when there may be something to take.
func (t *Tail) Ready() <-chan struct{} { return t.ready }

// Take returns what has come since the last call, without waiting. ErrOverflow ends the tail.
func (t *Tail) Take() ([]*api.Change, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.overflow {
		return nil, ErrOverflow
	}
	if t.closed {
		return nil, ErrClosed
	}
	out := t.queue
	t.queue = nil
	return out, nil
}

// Next waits for changes and takes them.
func (t *Tail) Next(ctx context.Context) ([]*api.Change, error) {
	for {
		if out, err := t.Take(); err != nil || len(out) > 0 {
			return out, err
		}
		select {
		case <-t.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Close stops the tail; it must be called.
func (t *Tail) Close() {
	t.f.mu.Lock()
	defer t.f.mu.Unlock()
	t.f.tails.remove(t)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed, t.queue = true, nil
}
