package kube

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// ErrTooOld says that changes after the revision asked for are no longer all known.
var ErrTooOld = errors.New("the changes since that revision are no longer known")

// ErrNotWritten says that nothing was committed and nothing will be: whoever asked may ask again.
var ErrNotWritten = errors.New("the write was not made")

// Store is the replicated state as the façade needs it.
type Store interface {
	// Revision is that of the local state.
	Revision() uint64
	// Barrier returns when the local state has every write that was acknowledged, by whichever
	// server, before the call.
	Barrier(ctx context.Context) error
	// WaitRevision returns when the local state has come to the revision.
	WaitRevision(ctx context.Context, revision uint64) error
	// Get reads one object of the local state; it must not be changed. Pods are made from their records.
	Get(gr schema.GroupResource, namespace, name string) (runtime.Object, bool)
	// Snapshot is one resource of the local state, which no longer changes.
	Snapshot(gr schema.GroupResource) Snapshot
	// Changes makes a function that says, without a lock, how often a resource has changed: who made something of its objects knows by it that
	// it is still true. The number is this server's own.
	Changes(gr schema.GroupResource) func() uint64
	// Propose commits ops and returns when the local state has them. It neither keeps nor changes
	// the objects in them. An error other than ErrNotWritten means that it is not known whether they were committed.
	Propose(ctx context.Context, list ...ops.Op) ([]ops.Result, error)
	// Watch opens a cursor on the changes of one resource after a revision. ErrTooOld if they are
	// no longer all there.
	Watch(gr schema.GroupResource, after uint64) (Cursor, error)
}

// Snapshot is one resource at one revision.
type Snapshot interface {
	Revision() uint64
	Len() int
	// Ascend yields objects in order of namespace and name, from (namespace, name) on, inclusive.
	// They must not be changed.
	Ascend(namespace, name string, yield func(namespace, name string, obj runtime.Object) bool)
}

// Cursor reads changes in the order of their revisions.
type Cursor interface {
	// Next waits for changes. Changes that are there already are returned even if ctx has ended.
	// ErrTooOld means that the cursor fell behind.
	Next(ctx context.Context) ([]*api.Change, error)
	// Close ends the cursor; it must be called.
	Close()
}
