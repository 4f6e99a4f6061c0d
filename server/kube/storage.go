package kube

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/tools/cache"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// objectStorage is registry.Store's view of one resource of the Store.
type objectStorage struct {
	storage.APIObjectVersioner
	store  Store
	kind   *api.Kind
	gr     schema.GroupResource
	prefix string
	slow   time.Duration // how long a watch's event waits for its reader
	// documents makes objects of what is stored; nil for the kinds of the table.
	documents *documents
}

var _ storage.Interface = (*objectStorage)(nil)

// takenError says that the store refused a value which must be unique.
type takenError struct{ detail string }

func (e *takenError) Error() string {
	return "a value that must be unique is in use: " + e.detail
}

// restOptions is a generic.RESTOptionsGetter over a Store.
type restOptions struct {
	store Store
	slow  time.Duration
}

func (r restOptions) GetRESTOptions(gr schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	k := api.KindFor(gr)
	if k == nil {
		return generic.RESTOptions{}, fmt.Errorf("no kind has the resource %s", gr)
	}
	return generic.RESTOptions{
		StorageConfig: &storagebackend.ConfigForResource{GroupResource: gr, Config: storagebackend.Config{
			Codec: api.Codecs.LegacyCodec(k.GroupVersion), EncodeVersioner: k.GroupVersion}},
		Decorator:               r.decorate(k),
		EnableGarbageCollection: true,
		DeleteCollectionWorkers: 1,
		ResourcePrefix:          resourcePrefix(gr),
	}, nil
}

func (r restOptions) decorate(k *api.Kind) generic.StorageDecorator {
	return func(_ *storagebackend.ConfigForResource, prefix string, _ func(runtime.Object) (string, error),
		_, _ func() runtime.Object, _ storage.AttrFunc, _ storage.IndexerFuncs, _ *cache.Indexers) (storage.Interface, factory.DestroyFunc, error) {
		return &objectStorage{store: r.store, kind: k, gr: k.GroupResource(), prefix: prefix, slow: r.slow}, func() {}, nil
	}
}

func (s *objectStorage) Versioner() storage.Versioner                        { return s.APIObjectVersioner }
func (s *objectStorage) ReadinessCheck() error                               { return nil }
func (s *objectStorage) RequestWatchProgress(context.Context) error          { return nil }
func (s *objectStorage) EnableResourceSizeEstimation(storage.KeysFunc) error { return nil }
func (s *objectStorage) CompactRevision() int64                              { return 0 }

func (s *objectStorage) Stats(context.Context) (storage.Stats, error) {
	return storage.Stats{ObjectCount: int64(s.store.Snapshot(s.gr).Len())}, nil
}

func (s *objectStorage) GetCurrentResourceVersion(context.Context) (uint64, error) {
	return s.store.Revision(), nil
}

// ready waits until the local state may answer a read: "" needs everything acknowledged, "0"
// nothing, N that revision.
func (s *objectStorage) ready(ctx context.Context, resourceVersion string) error {
	if resourceVersion == "" {
		return s.barrier(ctx)
	}
	want, err := s.ParseResourceVersion(resourceVersion)
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid resource version: %v", err))
	}
	return s.wait(ctx, want)
}

func (s *objectStorage) wait(ctx context.Context, want uint64) error {
	if want <= s.store.Revision() {
		return nil
	}
	idle(ctx)
	waiting, cancel := context.WithTimeout(ctx, futureRevisionWait)
	defer cancel()
	if s.store.WaitRevision(waiting, want) != nil {
		return storage.NewTooLargeResourceVersionError(want, s.store.Revision(), 1)
	}
	return nil
}

func (s *objectStorage) barrier(ctx context.Context) error {
	if err := s.store.Barrier(ctx); err != nil {
		return unavailable(s.gr, "read", err)
	}
	return nil
}

// unavailable is the answer when the cluster has no leader or the leader no quorum: clients retry it.
func unavailable(gr schema.GroupResource, verb string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return apierrors.NewTimeoutError(fmt.Sprintf("the cluster did not confirm the %s of %s in time", verb, gr), 1)
	}
	e := apierrors.NewServerTimeout(gr, verb, 1)
	e.ErrStatus.Message = fmt.Sprintf("%s: %v", e.ErrStatus.Message, err)
	return e
}

func (s *objectStorage) Get(ctx context.Context, key string, opts storage.GetOptions, out runtime.Object) error {
	if err := s.ready(ctx, opts.ResourceVersion); err != nil {
		return err
	}
	ns, name := s.splitKey(key)
	o, ok := s.store.Get(s.gr, ns, name)
	switch {
	case ok:
		o, err := s.documents.read(o)
		if err == nil {
			assign(out, o)
		}
		return err
	case opts.IgnoreNotFound:
		return runtime.SetZeroValue(out)
	}
	return storage.NewKeyNotFoundError(key, 0)
}

// Create proposes obj, which the caller hands over.
func (s *objectStorage) Create(ctx context.Context, key string, obj, out runtime.Object, _ uint64) error {
	if v, err := s.ObjectResourceVersion(obj); err == nil && v != 0 {
		return storage.ErrResourceVersionSetOnCreate
	}
	if err := s.PrepareObjectForStorage(obj); err != nil {
		return err
	}
	stored, err := s.documents.write(obj)
	if err != nil {
		return err
	}
	r, err := s.propose(ctx, "create", &ops.Put{Resource: s.gr, Object: stored, Expect: ops.Absent})
	if err != nil {
		return s.unlessMade(ctx, key, stored, out, err)
	}
	switch r.Rows[0] {
	case ops.Applied:
		if out == nil {
			return nil
		}
		s.documents.tell(ctx, stored)
		o, err := s.documents.result(obj, stored, r.Revision)
		if err == nil {
			assign(out, o)
		}
		return err
	case ops.Found, ops.Conflict:
		return storage.NewKeyExistsError(key, 0)
	}
	return s.refused(key, r)
}

// Delete removes the object at the revision at which it was checked.
func (s *objectStorage) Delete(ctx context.Context, key string, out runtime.Object, pre *storage.Preconditions,
	validate storage.ValidateObjectFunc, _ runtime.Object, _ storage.DeleteOptions) error {
	ns, name := s.splitKey(key)
	var done uint64
	old, err := s.settle(ctx, key, false, func(o, _ runtime.Object) (ops.Op, error) {
		if err := pre.Check(key, o); err != nil {
			return nil, err
		}
		if err := validate(ctx, o.DeepCopyObject()); err != nil {
			return nil, err
		}
		return &ops.Delete{Resource: s.gr, Namespace: ns, Name: name, Expect: revisionOf(o)}, nil
	}, &done)
	if err != nil {
		return err
	}
	assign(out, withRevision(old, done))
	return nil
}

func (s *objectStorage) GuaranteedUpdate(ctx context.Context, key string, dst runtime.Object, ignoreNotFound bool,
	pre *storage.Preconditions, try storage.UpdateFunc, _ runtime.Object) error {
	var next, stored runtime.Object
	var done uint64
	_, err := s.settle(ctx, key, ignoreNotFound, func(o, was runtime.Object) (ops.Op, error) {
		expect, revision, input := ops.Absent, uint64(0), s.kind.New()
		if o != nil {
			revision, input = revisionOf(o), o.DeepCopyObject() // patch code may change what it gets
			expect = revision
		}
		if err := pre.Check(key, input); err != nil {
			return nil, err
		}
		obj, _, err := try(input, storage.ResponseMeta{ResourceVersion: revision})
		if err != nil {
			return nil, err
		}
		next, stored = obj, obj
		if o != nil && s.documents == nil && s.same(obj, o) {
			return nil, nil
		}
		if err := s.PrepareObjectForStorage(obj); err != nil {
			return nil, err
		}
		if stored, err = s.documents.write(obj); err != nil {
			return nil, err
		}
		if o != nil && s.documents != nil && sameDocument(stored.(*api.Document), was.(*api.Document)) {
			return nil, nil
		}
		return &ops.Put{Resource: s.gr, Object: stored, Expect: expect}, nil
	}, &done)
	if err != nil {
		return err
	}
	if next, err = s.documents.result(next, stored, done); err == nil {
		assign(dst, next)
	}
	return err
}

// same says whether writing obj over old would change nothing.
func (s *objectStorage) same(obj, old runtime.Object) bool {
	c := withRevision(obj, revisionOf(old))
	k := c.GetObjectKind()
	k.SetGroupVersionKind(old.GetObjectKind().GroupVersionKind())
	return equality.Semantic.DeepEqual(c, old)
}

// settle decides on the local object, as readers see it and as it is stored (both nil if there is none), and proposes the decision until it holds. The local state may
// be behind: a decision not to write (an error, nothing to change, no such object) is made again
// after a barrier, a write that was decided on an old object is refused by the store. done is
// set to the revision of the result.
func (s *objectStorage) settle(ctx context.Context, key string, absentOK bool,
	decide func(old, stored runtime.Object) (ops.Op, error), done *uint64) (runtime.Object, error) {
	ns, name := s.splitKey(key)
	fresh := false
	for range writeAttemptsMax {
		stored, found := s.store.Get(s.gr, ns, name)
		var old runtime.Object
		var op ops.Op
		var err error
		if found {
			if old, err = s.documents.read(stored); err != nil {
				return nil, err
			}
			op, err = decide(old, stored)
		} else if absentOK {
			op, err = decide(nil, nil)
		} else {
			err = storage.NewKeyNotFoundError(key, 0)
		}
		if err != nil || op == nil {
			if fresh {
				if err == nil {
					*done = revisionOf(old)
				}
				return old, err
			}
			if err := s.barrier(ctx); err != nil {
				return nil, err
			}
			fresh = true
			// Most often nothing has changed meanwhile, and the decision stands.
			if again, ok := s.store.Get(s.gr, ns, name); ok == found && (!ok || revisionOf(again) == revisionOf(stored)) {
				if err == nil {
					*done = revisionOf(old)
				}
				return old, err
			}
			continue
		}
		r, err := s.propose(ctx, "update", op)
		if err != nil {
			return nil, err
		}
		switch r.Rows[0] {
		case ops.Applied:
			*done = r.Revision
			return old, nil
		case ops.Conflict, ops.Found, ops.NotFound:
			fresh = false // Propose brought the local state up to the refusal; decide anew
		default:
			return nil, s.refused(key, r)
		}
	}
	return nil, apierrors.NewTooManyRequests(fmt.Sprintf("%s %q changes too fast to be updated", s.gr, name), 1)
}

func (s *objectStorage) propose(ctx context.Context, verb string, op ops.Op) (ops.Result, error) {
	results, err := s.store.Propose(ctx, op)
	if errors.Is(err, ErrNotWritten) {
		return ops.Result{}, unavailable(s.gr, verb, err)
	}
	if err != nil && !creates(op) {
		results, err = s.again(ctx, op, err)
	}
	if err != nil {
		return ops.Result{}, unconfirmed(s.gr, verb, err)
	}
	if len(results) != 1 || len(results[0].Rows) != 1 {
		return ops.Result{}, apierrors.NewInternalError(fmt.Errorf("the store answered one op with %d results", len(results)))
	}
	return results[0], nil
}

// refused turns an outcome that is no race into an error.
func (s *objectStorage) refused(key string, r ops.Result) error {
	switch r.Rows[0] {
	case ops.Taken:
		return &takenError{r.Detail}
	case ops.NotFound:
		return storage.NewKeyNotFoundError(key, 0)
	}
	return apierrors.NewInternalError(fmt.Errorf("writing %s: %s", key, r.Detail))
}

// appendItem adds a shallow copy of an object to the items of a list.
func appendItem(items reflect.Value, o runtime.Object) {
	items.Set(reflect.Append(items, reflect.ValueOf(o).Elem()))
}
