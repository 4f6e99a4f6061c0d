package fsm

import (
	"errors"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// Errors of reading.
var (
	// ErrTooOld means that the changes after the revision asked for are no longer kept.
	ErrTooOld = errors.New("the revision is too old: its changes are no longer kept")
	// ErrOverflow means that a Tail was not read fast enough and has lost changes.
	ErrOverflow = errors.New("the tail was cut off: too many changes waited in it")
	// ErrClosed means that the cursor or tail was closed.
	ErrClosed = errors.New("closed")
)

// Pods is the one resource that is held as records.
var Pods = schema.GroupResource{Resource: "pods"}

// Policies are the network policies: while there are some, nodes hear where the pods of others are.
var Policies = schema.GroupResource{Group: "networking.k8s.io", Resource: "networkpolicies"}

var services = schema.GroupResource{Resource: "services"}

// FSM is the state. The zero value is not usable; see New.
type FSM struct {
	mu sync.RWMutex
	// Guarded by mu.
	revision uint64 // of the last change; grows by one a change, never goes back
	index    uint64 // of the last applied log entry that had ops
	passed   uint64 // of the last log entry, if it was later and had none
	floor    uint64 // the revision since which every change went through the rings
	tables   map[schema.GroupResource]*table
	podIndex podIndex
	unique   uniqueIndex
	meta     map[string][]byte
	tails    tails
	applied  chan struct{} // closed and replaced when index grows

	templates *templateCache
	notify    *notifier
}

// New makes an empty state. Its revision starts at 1, so that 0 can mean "none".
func New() *FSM {
	f := &FSM{notify: newNotifier(), templates: &templateCache{}}
	f.reset()
	return f
}

func (f *FSM) reset() {
	f.revision, f.floor = 1, 1
	f.tables = map[schema.GroupResource]*table{}
	f.podIndex = podIndex{}
	f.unique = newUniqueIndex()
	f.meta = map[string][]byte{}
	if f.applied == nil {
		f.applied = make(chan struct{})
	}
}

// Apply applies one log entry and returns a result an op. It panics on an entry that it cannot
// decode: going on would let this server's state diverge from the others'.
func (f *FSM) Apply(index uint64, entry []byte) []ops.Result {
	list, err := ops.Decode(entry)
	if err != nil {
		panic(fmt.Sprintf("fsm: log entry %d: %v; this binary is older than the one that wrote it, or the log is damaged", index, err))
	}
	return f.ApplyOps(index, list)
}

// ApplyOps applies ops that are already decoded. It takes over their objects.
func (f *FSM) ApplyOps(index uint64, list []ops.Op) []ops.Result {
	if len(list) == 0 {
		f.Pass(index)
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]ops.Result, len(list))
	for i, op := range list {
		out[i] = f.applyOp(op)
	}
	f.index = max(f.index, index)
	f.wake()
	return out
}

// Pass takes note of a log entry that has nothing to say to the state.
func (f *FSM) Pass(index uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.passed = index
	f.wakeWaiters()
}

func (f *FSM) applyOp(op ops.Op) ops.Result {
	switch o := op.(type) {
	case *ops.Put:
		return f.one(f.put(o))
	case *ops.Delete:
		return f.one(f.remove(o))
	case *ops.PlanPods:
		return f.planPods(o)
	case *ops.BindPods:
		return f.rows(len(o.Rows), func(i int) ops.Outcome { return f.bindPod(o.Now, &o.Rows[i]) })
	case *ops.PodStatuses:
		return f.rows(len(o.Rows), func(i int) ops.Outcome { return f.podStatus(&o.Rows[i]) })
	case *ops.DeletePods:
		return f.rows(len(o.Rows), func(i int) ops.Outcome { return f.deletePod(o.Now, &o.Rows[i]) })
	case *ops.PutMeta:
		return f.one(f.putMeta(o), "")
	}
	panic(fmt.Sprintf("fsm: op %T is unknown", op))
}

func (f *FSM) one(o ops.Outcome, detail string) ops.Result {
	r := ops.Result{Rows: []ops.Outcome{o}, Detail: detail}
	if o == ops.Applied {
		r.Revision = f.revision
	}
	return r
}

func (f *FSM) rows(n int, apply func(int) ops.Outcome) ops.Result {
	r := ops.Result{Rows: make([]ops.Outcome, n)}
	for i := range n {
		if r.Rows[i] = apply(i); r.Rows[i] == ops.Applied {
			r.Revision = f.revision
		}
	}
	return r
}

func (f *FSM) putMeta(o *ops.PutMeta) ops.Outcome {
	if _, ok := f.meta[o.Key]; ok && o.IfAbsent {
		return ops.Found
	}
	f.revision++
	if o.Value == nil {
		delete(f.meta, o.Key)
	} else {
		f.meta[o.Key] = o.Value
	}
	return ops.Applied
}

// commit gives the change its revision and hands it to everybody who listens.
func (f *FSM) commit(t *table, c *api.Change) {
	c.Revision = f.revision
	t.ring.add(c)
	if c.New == nil && c.NewPod == nil {
		t.departed.add(c)
	}
	f.notify.mark(t.ring)
	f.tails.offer(c, c.Resource == Pods && f.policedLocked())
}

// policedLocked says whether there are network policies.
func (f *FSM) policedLocked() bool {
	t := f.tables[Policies]
	return t != nil && t.items.Len() > 0
}

// wake ends an applied batch: waiters for the index and the tails go on.
func (f *FSM) wake() {
	f.wakeWaiters()
	f.tails.signal()
	f.notify.signal()
}

func (f *FSM) wakeWaiters() {
	close(f.applied)
	f.applied = make(chan struct{})
}

func (f *FSM) table(gr schema.GroupResource) *table {
	t := f.tables[gr]
	if t == nil {
		t = newTable(gr, f.floor)
		f.tables[gr] = t
	}
	return t
}
