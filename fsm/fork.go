package fsm

import (
	"maps"
	"slices"
)

// Fork makes a state of its own that begins as this one: what is applied to it is seen by nobody else. It shares all objects with this
// one, costs a copy of the indexes, and serves tails and reads; cursors of it get no news.
func (f *FSM) Fork() *FSM {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := &FSM{notify: &notifier{kick: make(chan struct{}, 1)}, templates: &templateCache{}}
	n.reset()
	n.revision, n.index, n.floor = f.revision, f.index, f.revision
	n.meta = maps.Clone(f.meta)
	for gr, t := range f.tables {
		c := newTable(gr, f.revision)
		c.items = t.items.Clone()
		n.tables[gr] = c
	}
	for node, keys := range f.podIndex {
		n.podIndex[node] = slices.Clone(keys)
	}
	n.unique.owner = maps.Clone(f.unique.owner)
	for key, values := range f.unique.values {
		n.unique.values[key] = slices.Clone(values)
	}
	return n
}
