package share

import (
	"context"
	"sync"
	"time"

	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/pki"
)

// conns keeps a connection to each node that was spoken to within idleMax.
type conns struct {
	dialer *rpc.Dialer

	mu     sync.Mutex
	open   map[string]*conn // by node and address
	closed bool
}

type conn struct {
	dialled chan struct{} // closed when rpc or err is set
	rpc     *rpc.Conn
	err     error
	users   int // guarded by conns.mu
	idle    *time.Timer
}

func newConns(d *rpc.Dialer) *conns { return &conns{dialer: d, open: map[string]*conn{}} }

// get returns a live connection and what gives it back.
func (c *conns) get(ctx context.Context, m Member) (*rpc.Conn, func(), error) {
	key := m.Name + " " + m.Address
	x, fresh, err := c.take(key)
	if err != nil {
		return nil, nil, err
	}
	if fresh {
		x.rpc, x.err = c.dialer.Dial(ctx, m.Address, rpc.Peer{Role: pki.RoleNode, Name: m.Name})
		close(x.dialled)
	}
	select {
	case <-x.dialled:
	case <-ctx.Done():
		c.put(key, x)
		return nil, nil, context.Cause(ctx)
	}
	if x.err != nil {
		c.put(key, x)
		return nil, nil, x.err
	}
	return x.rpc, sync.OnceFunc(func() { c.put(key, x) }), nil
}

func (c *conns) take(key string) (x *conn, fresh bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, false, rpc.ErrClosed
	}
	x = c.open[key]
	if x == nil || x.broken() {
		x, fresh = &conn{dialled: make(chan struct{})}, true
		c.open[key] = x
	}
	x.users++
	if x.idle != nil {
		x.idle.Stop()
	}
	return x, fresh, nil
}

func (x *conn) broken() bool {
	select {
	case <-x.dialled:
		return x.err != nil || x.rpc.Err() != nil
	default:
		return false
	}
}

func (c *conns) put(key string, x *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if x.users--; x.users > 0 {
		return
	}
	if c.open[key] != x || c.closed { // another has taken its place
		x.close()
		return
	}
	x.idle = time.AfterFunc(idleMax, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if x.users == 0 && c.open[key] == x {
			delete(c.open, key)
			x.close()
		}
	})
}

func (x *conn) close() {
	if x.rpc != nil {
		x.rpc.Close()
	}
}

func (c *conns) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, x := range c.open {
		if x.idle != nil {
			x.idle.Stop()
		}
		select {
		case <-x.dialled:
			x.close()
		default: // who dials it gives it back, and that closes it
		}
	}
}
