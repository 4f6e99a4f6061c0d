package fsm

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/google/btree"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
)

// View is the whole state at one revision. It never changes.
type View struct {
	revision uint64
	index    uint64
	tables   map[schema.GroupResource]*btree.BTreeG[item]
	meta     map[string][]byte
}

// TableView is one resource at one revision. It never changes.
type TableView struct {
	revision uint64
	tree     *btree.BTreeG[item]
}

// View takes a picture of everything. It costs one small clone for each table written since the last one.
func (f *FSM) View() *View {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.viewLocked()
}

func (f *FSM) viewLocked() *View {
	v := &View{revision: f.revision, index: f.index, tables: make(map[schema.GroupResource]*btree.BTreeG[item], len(f.tables)), meta: maps.Clone(f.meta)}
	for gr, t := range f.tables {
		v.tables[gr] = t.freeze()
	}
	return v
}

// Table takes a picture of one resource.
func (f *FSM) Table(gr schema.GroupResource) TableView {
	f.mu.RLock()
	switch t := f.tables[gr]; {
	case t == nil: // and none is made: clients may ask for resources of any name
		defer f.mu.RUnlock()
		return TableView{f.revision, noItems}
	case t.frozen != nil:
		defer f.mu.RUnlock()
		return TableView{f.revision, t.frozen}
	}
	f.mu.RUnlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	return TableView{f.revision, f.table(gr).freeze()}
}

// Tables takes a picture of some resources at one moment, and says how often each had changed by then (see Changes).
func (f *FSM) Tables(list ...schema.GroupResource) ([]TableView, []uint64) {
	views, changes := make([]TableView, len(list)), make([]uint64, len(list))
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, gr := range list {
		t := f.table(gr)
		views[i], changes[i] = TableView{f.revision, t.freeze()}, t.ring.changes.Load()
	}
	return views, changes
}

// Changes makes a function that says, without a lock, how often a resource has changed: who made something of a table knows
// by it that it is still true. The number is this server's own; it is no revision.
func (f *FSM) Changes(gr schema.GroupResource) func() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.table(gr).ring.changes.Load
}

// Get reads one object as of now, and the revision of the state. Pods are made from their records.
func (f *FSM) Get(gr schema.GroupResource, namespace, name string) (runtime.Object, bool) {
	f.mu.RLock()
	t := f.tables[gr]
	if t == nil {
		f.mu.RUnlock()
		return nil, false
	}
	it, ok := t.get(makeKey(namespace, name))
	f.mu.RUnlock()
	if !ok {
		return nil, false
	}
	return it.object(), true
}

// Pod reads one pod's record as of now.
func (f *FSM) Pod(namespace, name string) (*api.PodRecord, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	t := f.tables[Pods]
	if t == nil {
		return nil, false
	}
	it, ok := t.get(makeKey(namespace, name))
	return it.pod, ok
}

// PodsOfNode reads the records of a node's pods as of now, in no order.
func (f *FSM) PodsOfNode(node string) []*api.PodRecord {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.podsOfNodeLocked(node)
}

func (f *FSM) podsOfNodeLocked(node string) []*api.PodRecord {
	t := f.tables[Pods]
	out := make([]*api.PodRecord, 0, len(f.podIndex[node]))
	for _, key := range f.podIndex[node] {
		if it, ok := t.get(key); ok {
			out = append(out, it.pod)
		}
	}
	return out
}

// Meta reads an entry of the cluster's own table.
func (f *FSM) Meta(key string) ([]byte, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	v, ok := f.meta[key]
	return v, ok
}

// MetaKeys lists the keys with a prefix, sorted.
func (f *FSM) MetaKeys(prefix string) []string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var out []string
	for k := range f.meta {
		if strings.HasPrefix(k, prefix) {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// Revision is the number of the last change.
func (f *FSM) Revision() uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.revision
}

// Index is that of the last applied log entry that had ops.
func (f *FSM) Index() uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.index
}

// WaitIndex waits until the log has been applied up to index.
func (f *FSM) WaitIndex(ctx context.Context, index uint64) error {
	return f.wait(ctx, func() bool { return f.index >= index })
}

// WaitPassed waits until no log entry up to index can have anything to say any more. On a server that does not lead this may take as long as
// the log is quiet, if the entry has no ops.
func (f *FSM) WaitPassed(ctx context.Context, index uint64) error {
	return f.wait(ctx, func() bool { return max(f.index, f.passed) >= index })
}

// WaitRevision waits until the state has come to a revision.
func (f *FSM) WaitRevision(ctx context.Context, revision uint64) error {
	return f.wait(ctx, func() bool { return f.revision >= revision })
}

func (f *FSM) wait(ctx context.Context, reached func() bool) error {
	for {
		f.mu.RLock()
		ok, applied := reached(), f.applied
		f.mu.RUnlock()
		if ok {
			return nil
		}
		select {
		case <-applied:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Revision of the view.
func (v *View) Revision() uint64 { return v.revision }

// Index of the log entry that the view includes last.
func (v *View) Index() uint64 { return v.index }

// Resources lists the resources that have or had objects, sorted.
func (v *View) Resources() []schema.GroupResource {
	out := slices.Collect(maps.Keys(v.tables))
	slices.SortFunc(out, func(a, b schema.GroupResource) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// Table is one resource of the view.
func (v *View) Table(gr schema.GroupResource) TableView {
	t := v.tables[gr]
	if t == nil {
		t = noItems
	}
	return TableView{v.revision, t}
}

// Objects yields everything in the view but pods, as changes from nothing, table by table and in key order.
func (v *View) Objects(yield func(*api.Change) bool) {
	for _, gr := range v.Resources() {
		if gr == Pods {
			continue
		}
		more := true
		v.tables[gr].Ascend(func(it item) bool {
			ns, name := splitKey(it.key)
			more = yield(&api.Change{Revision: it.revision, Resource: gr, Namespace: ns, Name: name, New: it.obj})
			return more
		})
		if !more {
			return
		}
	}
}

// Pods yields the records of all pods, in order of namespace and name.
func (v *View) Pods(yield func(*api.PodRecord) bool) { v.Table(Pods).Pods(yield) }

// Counts is how many objects there are besides pods, and how many pods.
func (v *View) Counts() (objects, pods int) {
	for gr, t := range v.tables {
		if gr == Pods {
			pods = t.Len()
		} else {
			objects += t.Len()
		}
	}
	return objects, pods
}

// Revision of the state when the picture was taken.
func (t TableView) Revision() uint64 { return t.revision }

// Len is the number of objects.
func (t TableView) Len() int { return t.tree.Len() }

// Get reads one object; it must not be changed.
func (t TableView) Get(namespace, name string) (runtime.Object, bool) {
	it, ok := t.tree.Get(item{key: makeKey(namespace, name)})
	if !ok {
		return nil, false
	}
	return it.object(), true
}

// Since yields what was made or changed after a revision as changes from nothing, in order of namespace and name.
func (t TableView) Since(gr schema.GroupResource, revision uint64, yield func(*api.Change)) {
	t.tree.Ascend(func(it item) bool {
		if it.revision > revision {
			ns, name := splitKey(it.key)
			yield(&api.Change{Revision: it.revision, Resource: gr, Namespace: ns, Name: name, New: it.obj, NewPod: it.pod})
		}
		return true
	})
}

// AscendPods is Ascend for the records of pods.
func (t TableView) AscendPods(namespace, name string, yield func(*api.PodRecord) bool) {
	t.ascend(namespace, name, func(it item) bool { return yield(it.pod) })
}

// Ascend yields objects in order of namespace and name, from (namespace, name) on, inclusive.
func (t TableView) Ascend(namespace, name string, yield func(namespace, name string, obj runtime.Object) bool) {
	t.ascend(namespace, name, func(it item) bool {
		ns, n := splitKey(it.key)
		return yield(ns, n, it.object())
	})
}

func (t TableView) ascend(namespace, name string, yield func(item) bool) {
	from := ""
	if namespace != "" || name != "" {
		from = makeKey(namespace, name)
	}
	t.tree.AscendGreaterOrEqual(item{key: from}, yield)
}

// Pods yields records in order of namespace and name.
func (t TableView) Pods(yield func(*api.PodRecord) bool) {
	t.tree.Ascend(func(it item) bool { return yield(it.pod) })
}

func (it item) object() runtime.Object {
	if it.pod != nil {
		return it.pod.Pod()
	}
	return it.obj
}
