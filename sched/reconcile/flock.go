package reconcile

import (
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// tally is what one pod adds to its flock's counters.
type tally struct{ active, ready, terminating, labeled, stray, controlled bool }

// flock is the pods of one owner, with counters of those that it controls. It lives while there are
// such pods or the owner is a known workload.
type flock struct {
	uid  types.UID
	pods herd // all that name the owner, also deleting and terminal ones

	active, ready, terminating, labeled, strays int

	// What the owner says, if it is a workload that has been observed.
	owner          ref
	known          bool
	selector       labels.Selector
	templateLabels map[string]string

	marked uint64 // the owner has been marked since the agenda's turn of this number began; many pods change between two turns
}

// flock finds or makes the flock of an owner.
func (m *model) flock(uid types.UID) *flock {
	if f := m.lastFlock; f != nil && f.uid == uid {
		return f
	}
	f := m.flocks[uid]
	if f == nil {
		f = &flock{uid: uid}
		m.flocks[uid] = f
	}
	m.lastFlock = f
	return f
}

func (m *model) dropFlock(f *flock) {
	delete(m.flocks, f.uid)
	m.lastFlock = nil
}
