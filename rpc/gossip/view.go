package gossip

import (
	"sync"

	"github.com/peapod-sh/peapod/rpc/liveness"
)

// State of a member. Unknown was never heard of; Left said goodbye.
type State = liveness.State

// The states.
const (
	Unknown = liveness.Unknown
	Alive   = liveness.Alive
	Suspect = liveness.Suspect
	Dead    = liveness.Dead
	Left    = liveness.Left
)

// Member is what gossip knows of one process.
type Member struct {
	Name    string
	Role    string
	Address string // host:port of its gossip
	Meta    []byte
	State   State
}

// Event says that a member's state or meta changed. With Missed, events before this one were lost: read Members.
type Event struct {
	Member
	Missed bool
}

// view is the table of members. It is filled under memberlist's lock and by its senders, so it never blocks.
type view struct {
	mu      sync.RWMutex
	members map[string]*entry
	gone    int // of them Dead or Left
	alive   int // of them Alive or Suspect
	missed  bool
	events  chan Event
}

// entry is a member with the incarnation in which the state was claimed: a later incarnation overrules an earlier one, and within one
// Alive < Suspect < Dead.
type entry struct {
	Member
	incarnation uint32
}

func newView() *view {
	return &view{members: map[string]*entry{}, events: make(chan Event, eventBacklog)}
}

func (v *view) state(name string) State {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if e := v.members[name]; e != nil {
		return e.State
	}
	return Unknown
}

// list copies the members that keep accepts.
func (v *view) list(keep func(State) bool) []Member {
	v.mu.RLock()
	defer v.mu.RUnlock()
	members := make([]Member, 0, len(v.members))
	for _, e := range v.members {
		if keep(e.State) {
			members = append(members, e.Member)
		}
	}
	return members
}

// joined is memberlist's word that a member is alive that was not: the incarnation may have begun anew.
func (v *view) joined(m Member) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.members[m.Name]
	if e == nil {
		e = &entry{}
		v.members[m.Name] = e
	} else {
		v.count(e.State, -1)
	}
	m.State = Alive
	e.Member, e.incarnation = m, 0
	v.count(Alive, 1)
	v.emit(m)
}

// updated is memberlist's word that a member's meta or address changed.
func (v *view) updated(m Member) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e := v.members[m.Name]; e != nil {
		m.State = e.State
		e.Member = m
		v.emit(m)
	}
}

// claimed is what our own packets say of a member. What is older than what we know changes nothing.
func (v *view) claimed(name string, incarnation uint32, state State) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.members[name]
	if e == nil || incarnation < e.incarnation || incarnation == e.incarnation && state <= e.State {
		return
	}
	e.incarnation = incarnation
	if state == e.State || gone(e.State) && !gone(state) {
		return // that somebody came back is memberlist's to say, by joined
	}
	v.change(e, state)
}

// died is memberlist's word that a member is dead or has left.
func (v *view) died(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e := v.members[name]; e != nil && !gone(e.State) {
		v.change(e, Dead)
		v.prune(name)
	}
}

// prune keeps the number of the gone bounded.
func (v *view) prune(except string) {
	for name, e := range v.members {
		if v.gone <= maxForgotten {
			return
		}
		if gone(e.State) && name != except {
			v.count(e.State, -1)
			delete(v.members, name)
		}
	}
}

func (v *view) forget(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e := v.members[name]; e != nil && gone(e.State) {
		v.count(e.State, -1)
		delete(v.members, name)
	}
}

func gone(s State) bool { return s == Dead || s == Left }

func (v *view) change(e *entry, state State) {
	v.count(e.State, -1)
	e.State = state
	v.count(state, 1)
	v.emit(e.Member)
}

func (v *view) count(s State, by int) {
	if gone(s) {
		v.gone += by
	} else {
		v.alive += by
	}
}

func (v *view) size() int {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.alive
}

// emit never waits: a reader that is too slow learns that it missed something.
func (v *view) emit(m Member) {
	select {
	case v.events <- Event{Member: m, Missed: v.missed}:
		v.missed = false
	default:
		v.missed = true
	}
}
