package image

import (
	"context"
	"errors"
	"io"
)

// Peers are the other nodes of the cluster, which may have a blob or be about to get it. They are asked for layers
// only, after the registry has named those to this node for a pod's own credentials: what a pod may have is never
// decided here.
type Peers interface {
	// Fetch opens a blob at an offset; ErrNotFound says that this node is to ask the registry, as others may
	// be told to wait for it.
	Fetch(ctx context.Context, digest string, offset int64) (io.ReadCloser, error)
	// Done ends what Fetch began: the blob is here, or this node has given up.
	Done(digest string, here bool)
}

// peersFirst asks the other nodes and then the registry. A peer that breaks off is followed by another attempt of
// the download, which comes here again with the bytes that are missing.
func (s *Store) peersFirst(l layerSource) opener {
	return func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		r, err := s.peers.Fetch(ctx, l.desc.Digest.String(), offset)
		if err == nil {
			return r, nil
		}
		if !errors.Is(err, ErrNotFound) {
			s.log.Debug("no other node gives the layer", "layer", l.desc.Digest, "error", err)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return l.open(ctx, offset)
	}
}
