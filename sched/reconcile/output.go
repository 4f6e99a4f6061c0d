package reconcile

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api/ops"
)

// output collects the ops of one step. Rows of pods are gathered into few big ops; everything that
// makes pods go comes before what makes pods.
type output struct {
	written  map[ref]bool
	statuses []ops.StatusRow
	deletes  []ops.DeleteRow
	plans    []ops.Op
	binds    []ops.BindRow
	writes   []ops.Op
}

func newOutput() output { return output{written: map[ref]bool{}} }

func (e *Engine) begin() {
	e.output = newOutput()
	clear(e.asked)
	clear(e.asks)
}

// put writes an object once a step. A second write of the same object in a step would fail on the
// revision, so callers ask written first where another controller may have come before them.
func (e *Engine) put(gr schema.GroupResource, o runtime.Object, expect uint64) {
	e.written[refOf(gr, o)] = true
	e.emit(&ops.Put{Resource: gr, Object: o, Expect: expect})
}

// remove deletes an object now.
func (e *Engine) remove(o *object) {
	if e.written[o.ref] {
		return
	}
	e.written[o.ref] = true
	e.emit(&ops.Delete{Resource: o.gr, Namespace: o.ns, Name: o.name, UID: o.meta.GetUID(), Expect: o.rev})
}

func (e *Engine) emit(op ops.Op) { e.writes = append(e.writes, op) }

func (e *Engine) deletePod(row ops.DeleteRow) { e.deletes = append(e.deletes, row) }

// stamp gives a new object its identity.
func (e *Engine) stamp(m *metav1.ObjectMeta) {
	m.UID = e.names.uid()
	m.CreationTimestamp = metav1.NewTime(e.now.Truncate(time.Second))
	m.Generation = 1
}

// flush turns what was collected into ops, in the order of commit.
func (e *Engine) flush(now time.Time) []ops.Op {
	var out []ops.Op
	for _, rows := range chunks(e.statuses, statusRowsMax) {
		out = append(out, &ops.PodStatuses{Rows: rows})
	}
	for _, rows := range chunks(e.deletes, deleteRowsMax) {
		out = append(out, &ops.DeletePods{Now: now.Unix(), Rows: rows})
	}
	out = append(out, e.divert(e.plans)...)
	for _, rows := range chunks(e.binds, bindRowsMax) {
		out = append(out, &ops.BindPods{Now: now.Unix(), Rows: rows})
	}
	out = append(out, e.writes...)
	return append(out, e.flushEvents()...)
}

func chunks[T any](rows []T, most int) [][]T {
	var out [][]T
	for len(rows) > most {
		out = append(out, rows[:most:most])
		rows = rows[most:]
	}
	if len(rows) > 0 {
		out = append(out, rows)
	}
	return out
}
