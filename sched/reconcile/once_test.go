package reconcile

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api/ops"
)

// checkOnce is asked after every step of every world: Invariant 34. What the engine writes it writes once a step, and only over the
// revision that it has seen, so that nothing that somebody wrote meanwhile is lost.
func (w *world) checkOnce(list []ops.Op) {
	w.t.Helper()
	written := map[ref]bool{}
	for _, op := range list {
		r, expect, is := writtenBy(op)
		if !is {
			continue
		}
		if written[r] {
			w.t.Fatalf("a step writes %v twice: %v", r, describe(list))
		}
		written[r] = true
		if r.gr == Events && expect == ops.Any {
			continue // the engine counts by itself how often something happened
		}
		if have := w.revisionOf(r); expect != have && !(have == 0 && expect == ops.Absent) {
			w.t.Fatalf("a step writes %v as of revision %d, and it has %d: %v", r, expect, have, describe(list))
		}
	}
}

// writtenBy is the object that an op writes whole, and the revision that it expects there.
func writtenBy(op ops.Op) (r ref, expect uint64, is bool) {
	switch op := op.(type) {
	case *ops.Put:
		return refOf(op.Resource, op.Object), op.Expect, true
	case *ops.Delete:
		return ref{op.Resource, op.Namespace, op.Name}, op.Expect, true
	}
	return ref{}, 0, false
}

// revisionOf is 0 for what is not there.
func (w *world) revisionOf(r ref) uint64 {
	if o := w.objects[r]; o != nil {
		return o.rev
	}
	if rec := w.pods[types.NamespacedName{Namespace: r.ns, Name: r.name}]; rec != nil && r.gr == Pods {
		return rec.Revision
	}
	return 0
}
