package kube

import (
	"context"
	"errors"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
)

// rewind is the state of a resource as it was at an older revision, made from the newest by
// undoing the changes since: each change carries what was there before. Any server can do it for
// a page of a list that another server began. ErrTooOld if the changes are no longer known.
func rewind(store Store, gr schema.GroupResource, revision uint64) (Snapshot, error) {
	now := store.Snapshot(gr)
	if now.Revision() == revision {
		return now, nil
	}
	if now.Revision() < revision {
		return nil, ErrTooOld
	}
	cursor, err := store.Watch(gr, revision)
	if err != nil {
		return nil, err
	}
	defer cursor.Close()
	before, err := firstOlds(cursor, now.Revision())
	if err != nil {
		return nil, err
	}
	return newRewound(now, revision, before), nil
}

// place is a position in a resource's order.
type place struct{ namespace, name string }

func (p place) compare(q place) int {
	if c := strings.Compare(p.namespace, q.namespace); c != 0 {
		return c
	}
	return strings.Compare(p.name, q.name)
}

// firstOlds reads the changes up to a revision and keeps, for each object, what was there before
// the first of them (nil: nothing).
func firstOlds(cursor Cursor, upTo uint64) (map[place]runtime.Object, error) {
	done, cancel := context.WithCancel(context.Background())
	cancel() // Next gives what is there and never waits
	before := map[place]runtime.Object{}
	for {
		batch, err := cursor.Next(done)
		if errors.Is(err, context.Canceled) {
			return before, nil
		}
		if err != nil {
			return nil, err
		}
		for _, c := range batch {
			if c.Revision > upTo {
				return before, nil
			}
			if p := (place{c.Namespace, c.Name}); !hasKey(before, p) {
				before[p] = oldObject(c)
			}
		}
	}
}

func hasKey(m map[place]runtime.Object, p place) bool {
	_, ok := m[p]
	return ok
}

// rewound is a Snapshot with some objects replaced.
type rewound struct {
	now      Snapshot
	revision uint64
	before   map[place]runtime.Object
	order    []place // of the objects in before that are not nil
	len      int
}

func newRewound(now Snapshot, revision uint64, before map[place]runtime.Object) *rewound {
	r := &rewound{now: now, revision: revision, before: before, len: now.Len()}
	for p, o := range before {
		if o != nil {
			r.order = append(r.order, p)
		}
	}
	slices.SortFunc(r.order, place.compare)
	return r
}

func (r *rewound) Revision() uint64 { return r.revision }

// Len is only a hint for sizes: that of the newest state.
func (r *rewound) Len() int { return r.len }

// Ascend merges the newest state, without what has changed, and what was there before.
func (r *rewound) Ascend(namespace, name string, yield func(namespace, name string, obj runtime.Object) bool) {
	i, _ := slices.BinarySearchFunc(r.order, place{namespace, name}, place.compare)
	more := true
	old := func(upTo *place) {
		for ; more && i < len(r.order) && (upTo == nil || r.order[i].compare(*upTo) < 0); i++ {
			p := r.order[i]
			more = yield(p.namespace, p.name, r.before[p])
		}
	}
	r.now.Ascend(namespace, name, func(ns, n string, o runtime.Object) bool {
		p := place{ns, n}
		if old(&p); !more {
			return false
		}
		if hasKey(r.before, p) {
			return true
		}
		more = yield(ns, n, o)
		return more
	})
	if more {
		old(nil)
	}
}

// oldObject and newObject give a change's objects in typed form; a pod is made once for all who ask.
func oldObject(c *api.Change) runtime.Object {
	if c.OldPod != nil {
		return typedOnce(c, "old", c.OldPod)
	}
	return c.Old
}

func newObject(c *api.Change) runtime.Object {
	if c.NewPod != nil {
		return typedOnce(c, "new", c.NewPod)
	}
	return c.New
}

type typedSlot string

func typedOnce(c *api.Change, slot typedSlot, r *api.PodRecord) runtime.Object {
	if o, ok := c.Shared().Load(slot); ok {
		return o.(runtime.Object)
	}
	o, _ := c.Shared().LoadOrStore(slot, runtime.Object(r.Pod()))
	return o.(runtime.Object)
}
