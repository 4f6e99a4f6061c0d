package kube

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// unconfirmed is the answer when a write may or may not have been made. Clients are not told to try again, as they would be by a number of
// seconds: only their users know whether doing it twice is harmless.
func unconfirmed(gr schema.GroupResource, verb string, err error) error {
	return apierrors.NewTimeoutError(fmt.Sprintf("the cluster did not confirm the %s of %s: %v", verb, gr, err), 0)
}

// creates says whether an op makes an object that must not be there.
func creates(op ops.Op) bool {
	put, ok := op.(*ops.Put)
	return ok && put.Expect == ops.Absent
}

// again proposes anew a change or a deletion that nobody has confirmed. Both name the revision that they are of, so they are made once at most; if what is there
// now is what was to be written, it was the first time. Else somebody has changed the object since, perhaps after us.
func (s *objectStorage) again(ctx context.Context, op ops.Op, lost error) ([]ops.Result, error) {
	results, err := s.store.Propose(ctx, op)
	if err != nil {
		return nil, lost
	}
	put, ok := op.(*ops.Put)
	if !ok || len(results) != 1 || results[0].OK() {
		return results, nil
	}
	m := accessor(put.Object)
	now, found := s.store.Get(s.gr, m.GetNamespace(), m.GetName())
	if !found || !s.sameStored(put.Object, now) {
		return nil, lost
	}
	return []ops.Result{{Revision: revisionOf(now), Rows: []ops.Outcome{ops.Applied}}}, nil
}

// sameStored compares two objects as they are stored, but for their revisions.
func (s *objectStorage) sameStored(a, b runtime.Object) bool {
	if s.documents != nil {
		return sameDocument(a.(*api.Document), b.(*api.Document))
	}
	return s.same(a, b)
}

// unlessMade is the error of a creation, unless the object turns out to be there: nobody else can have chosen its UID. The caller gets it as
// it is now. It is not proposed again, for it may have been made and deleted.
func (s *objectStorage) unlessMade(ctx context.Context, key string, stored, out runtime.Object, err error) error {
	if !apierrors.IsTimeout(err) || s.store.Barrier(ctx) != nil {
		return err
	}
	ns, name := s.splitKey(key)
	made, found := s.store.Get(s.gr, ns, name)
	if uid := accessor(stored).GetUID(); !found || uid == "" || accessor(made).GetUID() != uid {
		return err
	}
	if out == nil {
		return nil
	}
	s.documents.tell(ctx, made)
	o, err := s.documents.read(made)
	if err == nil {
		assign(out, o)
	}
	return err
}
