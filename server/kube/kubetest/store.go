package kubetest

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/server/kube"
)

// Store is a kube.Store in memory.
type Store struct {
	// Keep is how many changes of a resource are kept; set it before use. The default is 1000.
	Keep int

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change
	rev     uint64
	tables  map[schema.GroupResource]*table
	counts  map[schema.GroupResource]*atomic.Uint64 // of changes; they outlive Reset
}

type table struct {
	objects map[key]runtime.Object
	changes []*api.Change
	floor   uint64 // highest revision whose changes may be missing
}

type key struct{ namespace, name string }

var _ kube.Store = (*Store)(nil)

// New makes an empty store.
func New() *Store {
	return &Store{Keep: 1000, changed: make(chan struct{}), rev: 1, tables: map[schema.GroupResource]*table{},
		counts: map[schema.GroupResource]*atomic.Uint64{}}
}

// Reset forgets everything, so that a test need not make a server for each of many states.
func (s *Store) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rev, s.tables = 1, map[schema.GroupResource]*table{}
	for _, n := range s.counts {
		n.Add(1)
	}
}

// Changes implements kube.Store.
func (s *Store) Changes(gr schema.GroupResource) func() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count(gr).Load
}

func (s *Store) count(gr schema.GroupResource) *atomic.Uint64 {
	n := s.counts[gr]
	if n == nil {
		n = &atomic.Uint64{}
		s.counts[gr] = n
	}
	return n
}

func (s *Store) table(gr schema.GroupResource) *table {
	t := s.tables[gr]
	if t == nil {
		t = &table{objects: map[key]runtime.Object{}}
		s.tables[gr] = t
	}
	return t
}

// Revision of the last change.
func (s *Store) Revision() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rev
}

// Barrier has nothing to wait for.
func (s *Store) Barrier(ctx context.Context) error { return ctx.Err() }

// WaitRevision waits for a change that has the revision.
func (s *Store) WaitRevision(ctx context.Context, revision uint64) error {
	for {
		s.mu.Lock()
		rev, changed := s.rev, s.changed
		s.mu.Unlock()
		if rev >= revision {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Get reads one object.
func (s *Store) Get(gr schema.GroupResource, namespace, name string) (runtime.Object, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.table(gr).objects[key{namespace, name}]
	return o, ok
}

// Propose applies the ops in order.
func (s *Store) Propose(ctx context.Context, list ...ops.Op) ([]ops.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]ops.Result, len(list))
	for i, op := range list {
		switch op := op.(type) {
		case *ops.Put:
			out[i] = s.put(op)
		case *ops.Delete:
			out[i] = s.delete(op)
		default:
			return nil, fmt.Errorf("kubetest does not know the op %T", op)
		}
	}
	return out, nil
}

func refusal(o ops.Outcome, detail string) ops.Result {
	return ops.Result{Rows: []ops.Outcome{o}, Detail: detail}
}

func revision(o runtime.Object) uint64 {
	n, _ := strconv.ParseUint(must(o).GetResourceVersion(), 10, 64)
	return n
}

func must(o runtime.Object) metav1.Object {
	m, err := meta.Accessor(o)
	if err != nil {
		panic(err)
	}
	return m
}

func (s *Store) put(op *ops.Put) ops.Result {
	m := must(op.Object)
	k := key{m.GetNamespace(), m.GetName()}
	t := s.table(op.Resource)
	old, found := t.objects[k]
	switch {
	case op.Expect == ops.Absent && found:
		return refusal(ops.Found, "")
	case op.Expect == ops.Absent || op.Expect == ops.Any:
	case !found:
		return refusal(ops.NotFound, "")
	case op.Expect != ops.Exists && op.Expect != revision(old):
		return refusal(ops.Conflict, "")
	}
	if detail := s.taken(op.Object, k); detail != "" {
		return refusal(ops.Taken, detail)
	}
	obj := op.Object.DeepCopyObject()
	if _, keeps := obj.(*api.Document); !keeps {
		obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
	return s.commit(t, op.Resource, k, old, obj)
}

func (s *Store) delete(op *ops.Delete) ops.Result {
	k := key{op.Namespace, op.Name}
	t := s.table(op.Resource)
	old, found := t.objects[k]
	switch {
	case !found:
		return refusal(ops.NotFound, "")
	case op.UID != "" && op.UID != must(old).GetUID():
		return refusal(ops.Conflict, "")
	case op.Expect != ops.Exists && op.Expect != ops.Any && op.Expect != revision(old):
		return refusal(ops.Conflict, "")
	}
	return s.commit(t, op.Resource, k, old, nil)
}

func (s *Store) commit(t *table, gr schema.GroupResource, k key, old, obj runtime.Object) ops.Result {
	s.rev++
	s.count(gr).Add(1)
	if obj != nil {
		must(obj).SetResourceVersion(strconv.FormatUint(s.rev, 10))
		t.objects[k] = obj
	} else {
		delete(t.objects, k)
	}
	t.changes = append(t.changes, &api.Change{Revision: s.rev, Resource: gr, Namespace: k.namespace, Name: k.name, Old: old, New: obj})
	if n := len(t.changes) - s.Keep; n > 0 {
		t.floor = t.changes[n-1].Revision
		t.changes = slices.Clone(t.changes[n:])
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return ops.Result{Revision: s.rev, Rows: []ops.Outcome{ops.Applied}}
}

// taken says which address or port of a service another service has.
func (s *Store) taken(obj runtime.Object, self key) string {
	svc, ok := obj.(*corev1.Service)
	if !ok {
		return ""
	}
	for k, o := range s.table(schema.GroupResource{Resource: "services"}).objects {
		other := o.(*corev1.Service)
		if k == self {
			continue
		}
		if _, err := netip.ParseAddr(svc.Spec.ClusterIP); err == nil && svc.Spec.ClusterIP == other.Spec.ClusterIP {
			return "clusterIP " + svc.Spec.ClusterIP
		}
		for _, p := range svc.Spec.Ports {
			for _, q := range other.Spec.Ports {
				if p.NodePort != 0 && p.NodePort == q.NodePort && p.Protocol == q.Protocol {
					return fmt.Sprintf("nodePort %d", p.NodePort)
				}
			}
		}
	}
	return ""
}

// Snapshot copies the table's index.
func (s *Store) Snapshot(gr schema.GroupResource) kube.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &snapshot{revision: s.rev, objects: maps.Clone(s.table(gr).objects)}
	out.keys = slices.SortedFunc(maps.Keys(out.objects), compare)
	return out
}

func compare(a, b key) int {
	if c := strings.Compare(a.namespace, b.namespace); c != 0 {
		return c
	}
	return strings.Compare(a.name, b.name)
}

type snapshot struct {
	revision uint64
	objects  map[key]runtime.Object
	keys     []key
}

func (s *snapshot) Revision() uint64 { return s.revision }
func (s *snapshot) Len() int         { return len(s.keys) }

func (s *snapshot) Ascend(namespace, name string, yield func(string, string, runtime.Object) bool) {
	i, _ := slices.BinarySearchFunc(s.keys, key{namespace, name}, compare)
	for _, k := range s.keys[i:] {
		if !yield(k.namespace, k.name, s.objects[k]) {
			return
		}
	}
}

// Watch opens a cursor.
func (s *Store) Watch(gr schema.GroupResource, after uint64) (kube.Cursor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if after < s.table(gr).floor {
		return nil, kube.ErrTooOld
	}
	return &cursor{s: s, gr: gr, after: after}, nil
}

type cursor struct {
	s     *Store
	gr    schema.GroupResource
	after uint64
}

func (c *cursor) Close() {}

func (c *cursor) Next(ctx context.Context) ([]*api.Change, error) {
	for {
		c.s.mu.Lock()
		t, changed := c.s.table(c.gr), c.s.changed
		i := slices.IndexFunc(t.changes, func(x *api.Change) bool { return x.Revision > c.after })
		var batch []*api.Change
		if i >= 0 {
			batch = slices.Clone(t.changes[i:])
		}
		floor := t.floor
		c.s.mu.Unlock()
		if c.after < floor {
			return nil, kube.ErrTooOld
		}
		if len(batch) > 0 {
			c.after = batch[len(batch)-1].Revision
			return batch, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
