package server

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/fsm"
)

// follow shows a resource's objects, as they are and as they change, until ctx ends. One that is deleted is not shown again.
func (s *Server) follow(ctx context.Context, gr schema.GroupResource, show func(ctx context.Context, obj runtime.Object)) error {
	for {
		table := s.state.Table(gr)
		table.Ascend("", "", func(_, _ string, obj runtime.Object) bool {
			show(ctx, obj)
			return ctx.Err() == nil
		})
		changes, err := s.state.Watch(gr, table.Revision())
		for err == nil {
			err = showNext(ctx, changes, show)
		}
		if !errors.Is(err, fsm.ErrTooOld) {
			return err
		}
	}
}

func showNext(ctx context.Context, changes *fsm.Cursor, show func(ctx context.Context, obj runtime.Object)) error {
	list, err := changes.Next(ctx)
	if err != nil {
		return err
	}
	for _, c := range list {
		if c.New != nil {
			show(ctx, c.New)
		}
	}
	return nil
}
