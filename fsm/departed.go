package fsm

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
)

// Departed is an object that is gone.
type Departed struct {
	Revision        uint64 // of its deletion
	Namespace, Name string
	UID             types.UID
	Node            string // of a pod, or of a volume that is a directory there
}

// departures are a table's last deletions. What was put since a revision the objects tell themselves, by their own; only of what is gone
// does nothing tell but this. So a node that knows the state as of a revision can be told what is different by any server, and a
// server keeps no history of puts for it.
type departures struct {
	list  []Departed // revisions grow; the oldest at start, wrapping around once full
	start int
	floor uint64 // deletions up to this revision may be missing
}

func (d *departures) add(c *api.Change) {
	gone := Departed{Revision: c.Revision, Namespace: c.Namespace, Name: c.Name, UID: uidOf(item{obj: c.Old, pod: c.OldPod}), Node: nodeOf(c.OldPod)}
	if v, ok := c.Old.(*corev1.PersistentVolume); ok {
		gone.Node = api.LocalPathNode(v)
	}
	if len(d.list) < departedMax {
		d.list = append(d.list, gone)
		return
	}
	d.floor = d.list[d.start].Revision
	d.list[d.start] = gone
	d.start = (d.start + 1) % len(d.list)
}

// since are the deletions after a revision, in their order.
func (d *departures) since(revision uint64) ([]Departed, error) {
	if revision < d.floor {
		return nil, ErrTooOld
	}
	var out []Departed
	for i := len(d.list) - 1; i >= 0; i-- {
		gone := d.list[(d.start+i)%len(d.list)]
		if gone.Revision <= revision {
			break
		}
		out = append(out, gone)
	}
	slices.Reverse(out)
	return out, nil
}

// Departed says what of a resource was deleted after a revision, in order. ErrTooOld if that is no longer known.
func (f *FSM) Departed(gr schema.GroupResource, since uint64) ([]Departed, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	t := f.tables[gr]
	if t == nil {
		t = newTable(gr, f.floor)
	}
	return t.departed.since(since)
}
