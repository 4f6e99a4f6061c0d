package server

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/server/kube"
)

// store shows the replicated state to the API façade.
type store struct {
	state    *fsm.FSM
	proposer *proposer
	barrier  *barrier
}

var _ kube.Store = (*store)(nil)

func (s *store) Revision() uint64 { return s.state.Revision() }

// Barrier waits for a quorum's word and then for the local state to catch up with it.
func (s *store) Barrier(ctx context.Context) error {
	index, err := s.barrier.Index(ctx)
	if err != nil {
		return err
	}
	return s.state.WaitIndex(ctx, index)
}

func (s *store) WaitRevision(ctx context.Context, revision uint64) error {
	return s.state.WaitRevision(ctx, revision)
}

func (s *store) Get(gr schema.GroupResource, namespace, name string) (runtime.Object, bool) {
	return s.state.Get(gr, namespace, name)
}

func (s *store) Snapshot(gr schema.GroupResource) kube.Snapshot { return s.state.Table(gr) }

func (s *store) Changes(gr schema.GroupResource) func() uint64 { return s.state.Changes(gr) }

func (s *store) Propose(ctx context.Context, list ...ops.Op) ([]ops.Result, error) {
	return s.proposer.Propose(ctx, list...)
}

func (s *store) Watch(gr schema.GroupResource, after uint64) (kube.Cursor, error) {
	c, err := s.state.Watch(gr, after)
	if err != nil {
		return nil, tooOld(err)
	}
	return cursor{c}, nil
}

// cursor speaks the façade's errors.
type cursor struct{ c *fsm.Cursor }

func (c cursor) Next(ctx context.Context) ([]*api.Change, error) {
	out, err := c.c.Next(ctx)
	return out, tooOld(err)
}

// Close has nothing to free: a cursor is a position.
func (cursor) Close() {}

func tooOld(err error) error {
	if errors.Is(err, fsm.ErrTooOld) {
		return kube.ErrTooOld
	}
	return err
}
