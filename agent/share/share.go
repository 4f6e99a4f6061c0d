package share

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/time/rate"

	"github.com/peapod-sh/peapod/agent/image"
	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// Blobs is what this node can give; *image.Store is one.
type Blobs interface {
	// OpenBlob reads a blob from an offset on, also one that is still on its way here.
	OpenBlob(ctx context.Context, digest string, offset int64) (io.ReadCloser, error)
}

// Config of a node's part.
type Config struct {
	Identity *pki.Identity
	Blobs    func() Blobs    // nil until there is a store
	Members  func() []Member // all nodes that are alive, this one among them
	// BytesPerSecond bounds what this node gives to all others together; 0 does not.
	BytesPerSecond int64
	Logger         hclog.Logger
}

// Share is one node's part: it keeps some digests, gives blobs, and fetches them.
type Share struct {
	cfg     Config
	self    string
	conns   *conns
	uploads chan struct{} // capacity uploadsMax
	rate    *rate.Limiter

	mu     sync.Mutex
	table  *table
	failed map[string]string // by digest: the node from which the last stretch came, until the next is asked for
	kept   map[string]Member // by digest: the keeper that was asked, to be told of the end
}

var _ image.Peers = (*Share)(nil)

// New makes a node's part. It gives nothing before Run.
func New(cfg Config) *Share {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	s := &Share{cfg: cfg, self: cfg.Identity.Peer().Name, uploads: make(chan struct{}, uploadsMax), rate: rate.NewLimiter(rate.Inf, 0),
		table: newTable(), failed: map[string]string{}, kept: map[string]Member{}}
	if cfg.BytesPerSecond > 0 {
		s.rate = rate.NewLimiter(rate.Limit(cfg.BytesPerSecond), max(givenAtOnce, int(min(cfg.BytesPerSecond, 1<<30)/10)))
	}
	s.conns = newConns(&rpc.Dialer{Identity: cfg.Identity, Logger: cfg.Logger})
	return s
}

// Run serves the other nodes until ctx ends.
func (s *Share) Run(ctx context.Context, listener net.Listener) error {
	defer s.conns.close()
	methods := rpc.NewMethods()
	rpc.Register(methods, wire.MethodLayerAsk, rpc.Nodes, func(_ context.Context, from rpc.Caller, q *wire.LayerAsk) (*wire.LayerWhere, error) {
		return &wire.LayerWhere{Node: s.where(q.Digest, from.Name, q.Failed)}, nil
	})
	rpc.Register(methods, wire.MethodLayerDone, rpc.Nodes, func(_ context.Context, from rpc.Caller, q *wire.LayerDone) (*wire.Empty, error) {
		s.ended(q.Digest, from.Name, q.Here)
		return &wire.Empty{}, nil
	})
	rpc.RegisterStream(methods, wire.MethodLayer, rpc.Nodes, s.give)
	return rpc.NewServer(s.cfg.Identity, methods, s.cfg.Logger).Serve(ctx, listener)
}

func (s *Share) where(digest, asker, failed string) string {
	if len(digest) > digestBytesMax {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.table.ask(time.Now(), digest, asker, failed)
}

func (s *Share) ended(digest, node string, here bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.table.done(time.Now(), digest, node, here)
}

// give sends a blob to another node.
func (s *Share) give(ctx context.Context, from rpc.Caller, q *wire.LayerFetch, stream *rpc.Stream) error {
	select {
	case s.uploads <- struct{}{}:
		defer func() { <-s.uploads }()
	default:
		return rpc.Errorf(rpc.CodeUnavailable, "this node gives %d blobs already", uploadsMax)
	}
	blobs := s.cfg.Blobs()
	if blobs == nil || q.Offset < 0 {
		return rpc.Errorf(rpc.CodeNotFound, "this node has no blobs")
	}
	r, err := blobs.OpenBlob(ctx, q.Digest, q.Offset)
	if err != nil {
		return rpc.Errorf(rpc.CodeNotFound, "%v", err)
	}
	defer r.Close()
	out, err := stream.Raw()
	if err != nil {
		return err
	}
	defer out.Close()
	return s.copy(ctx, out, r)
}

// copy keeps to the rate that all gifts share. Who does not read loses his place.
func (s *Share) copy(ctx context.Context, to net.Conn, from io.Reader) error {
	buf := make([]byte, givenAtOnce)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if err := s.rate.WaitN(ctx, n); err != nil {
				return err
			}
			if err := to.SetWriteDeadline(time.Now().Add(takeTimeout)); err != nil {
				return err
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Fetch implements image.Peers: it asks the digest's keeper, and then the node that the keeper names. A second call for
// the same digest says that what the first one gave has ended too early.
func (s *Share) Fetch(ctx context.Context, digest string, offset int64) (io.ReadCloser, error) {
	members := s.cfg.Members()
	if len(members) < 2 {
		return nil, image.ErrNotFound
	}
	keeper, at, err := s.ask(ctx, digest, members)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.kept[digest] = keeper
	s.mu.Unlock()
	var last error
	for range giversTried {
		if at == "" {
			return nil, image.ErrNotFound
		}
		var r io.ReadCloser
		if r, last = s.fetchFrom(ctx, at, members, digest, offset); last == nil {
			s.setFailed(digest, at) // if it is asked for again
			return r, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if rpc.CodeOf(last) == rpc.CodeUnavailable && !errors.Is(last, rpc.ErrLost) {
			return nil, fmt.Errorf("node %s: %w", at, last) // it has it, but is busy
		}
		if at, err = s.askKeeper(ctx, keeper, digest, at); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%d nodes could not give it: %w", giversTried, last)
}

func (s *Share) setFailed(digest, node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed[digest] = node
}

// ask goes through the first claimants of the digest. All nodes try them in the same order.
func (s *Share) ask(ctx context.Context, digest string, members []Member) (keeper Member, at string, err error) {
	s.mu.Lock()
	failed := s.failed[digest]
	delete(s.failed, digest)
	s.mu.Unlock()
	for _, keeper = range keepers(digest, members)[:min(keepersAsked, len(members))] {
		if at, err = s.askKeeper(ctx, keeper, digest, failed); err == nil {
			return keeper, at, nil
		}
		s.cfg.Logger.Debug("a keeper does not answer", "node", keeper.Name, "error", err)
	}
	return keeper, "", err
}

func (s *Share) askKeeper(ctx context.Context, keeper Member, digest, failed string) (string, error) {
	if keeper.Name == s.self {
		return s.where(digest, s.self, failed), nil
	}
	var reply wire.LayerWhere
	err := s.call(ctx, keeper, wire.MethodLayerAsk, &wire.LayerAsk{Digest: digest, Failed: failed}, &reply)
	return reply.Node, err
}

func (s *Share) call(ctx context.Context, to Member, method string, request, reply any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	c, release, err := s.conns.get(ctx, to)
	if err != nil {
		return err
	}
	defer release()
	return c.Call(ctx, method, request, reply)
}

// fetchFrom opens the blob at another node.
func (s *Share) fetchFrom(ctx context.Context, name string, members []Member, digest string, offset int64) (io.ReadCloser, error) {
	for _, m := range members {
		if m.Name != name {
			continue
		}
		opening, cancel := context.WithTimeout(ctx, openTimeout)
		defer cancel()
		c, release, err := s.conns.get(opening, m)
		if err != nil {
			return nil, err
		}
		raw, err := c.OpenRaw(opening, wire.MethodLayer, &wire.LayerFetch{Digest: digest, Offset: offset})
		if err != nil {
			release()
			return nil, err
		}
		stop := context.AfterFunc(ctx, func() { raw.Close() })
		return &gift{Conn: raw, release: func() { stop(); release() }}, nil
	}
	return nil, fmt.Errorf("node %s is not there", name)
}

// gift is a blob that another node gives.
type gift struct {
	net.Conn
	release func()
}

// Close gives the connection back.
func (g *gift) Close() error {
	defer g.release()
	return g.Conn.Close()
}

// Done implements image.Peers.
func (s *Share) Done(digest string, here bool) {
	s.mu.Lock()
	keeper, asked := s.kept[digest]
	delete(s.kept, digest)
	delete(s.failed, digest)
	s.mu.Unlock()
	if !asked {
		return
	}
	if keeper.Name == s.self {
		s.ended(digest, s.self, here)
		return
	}
	// The pull has ended, perhaps because its context has: the keeper hears of it all the same.
	if err := s.call(context.Background(), keeper, wire.MethodLayerDone, &wire.LayerDone{Digest: digest, Here: here}, &wire.Empty{}); err != nil {
		s.cfg.Logger.Debug("a keeper was not told of a fetch's end", "node", keeper.Name, "error", err)
	}
}
