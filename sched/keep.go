package sched

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/podstatus"
)

// Place is what a table knows of one pod. Who has something of his own for each pod keeps it there, so that the table needs no index of pods,
// and looks up none. The zero value is that the table does not know the pod. It belongs to one table.
type Place struct{ placed }

// Keep moves what the table knows of a pod to its place, from where the kept functions find it and those that take a UID no longer do.
func (t *Table) Keep(at *Place, uid types.UID) {
	if len(t.pods) == 0 || at.kind != nil {
		return
	}
	if known, ok := t.pods[uid]; ok {
		at.placed = known
		delete(t.promised, uid)
		if delete(t.pods, uid); len(t.pods) == 0 {
			t.pods = map[types.UID]placed{} // the old one has the size of the largest plan
		}
	}
}

// AddKept is AddPod for a pod whose place is kept, or that the table does not know.
func (t *Table) AddKept(at *Place, node string, template *api.PodTemplate, status podstatus.Status) (freed bool) {
	freed, _ = t.settle(&at.placed, node, template, status)
	return freed
}

// LeavingKept is Leaving for a pod whose place is kept.
func (t *Table) LeavingKept(at *Place) (changed bool) {
	return at.kind != nil && t.turn(&at.placed, true)
}

// StaysKept takes LeavingKept back: the pod is not deleted after all.
func (t *Table) StaysKept(at *Place) {
	if at.kind != nil {
		t.turn(&at.placed, false)
	}
}

// RemoveKept is RemovePod for a pod whose place is kept.
func (t *Table) RemoveKept(at *Place) {
	if was := at.placed; was.kind != nil {
		at.placed = placed{}
		t.vacate(was)
	}
}

// NodeOfKept is NodeOf for a pod whose place is kept.
func (t *Table) NodeOfKept(at *Place) string {
	if at.kind == nil {
		return ""
	}
	return t.names[at.slot]
}

// whereIs is what the table knows of a resident, whoever keeps it.
func (t *Table) whereIs(r *Resident) placed {
	if r.At != nil && r.At.kind != nil {
		return r.At.placed
	}
	return t.pods[r.UID]
}
