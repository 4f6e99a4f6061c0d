package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/yamux"
)

// Conn is one connection to a peer. Both sides may call and open streams, whoever dialled.
type Conn struct {
	session *yamux.Session
	peer    Peer
	methods *Methods
	logger  hclog.Logger

	ctx    context.Context // ends with the connection
	cancel context.CancelCauseFunc

	outbound slots // our calls and streams
	inbound  slots // theirs
	handlers sync.WaitGroup
	served   chan struct{} // closed when accepting has ended and all handlers have returned
}

// slots is a semaphore.
type slots chan struct{}

// newConn takes over an established connection. The caller runs serve.
func newConn(ctx context.Context, conn net.Conn, peer Peer, methods *Methods, dialled bool, logger hclog.Logger) (*Conn, error) {
	start := yamux.Server
	if dialled {
		start = yamux.Client
	}
	session, err := start(conn, muxConfig(logger))
	if err != nil {
		return nil, fmt.Errorf("starting the session with %s: %w", peer, err)
	}
	c := &Conn{session: session, peer: peer, methods: methods, logger: logger,
		outbound: make(slots, MaxStreams), inbound: make(slots, 2*MaxStreams), served: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	return c, nil
}

func muxConfig(logger hclog.Logger) *yamux.Config {
	config := yamux.DefaultConfig()
	config.AcceptBacklog = MaxStreams // opening never waits for it: outbound has as many slots
	config.KeepAliveInterval = keepAliveInterval
	config.ConnectionWriteTimeout = writeTimeout
	config.StreamOpenTimeout = 0 // costs a goroutine a stream; deadlines and keep-alive do its work
	config.StreamCloseTimeout = streamCloseTimeout
	config.LogOutput = nil
	config.Logger = muxLogger(logger)
	return config
}

// Peer is who is at the other end.
func (c *Conn) Peer() Peer { return c.peer }

// RemoteAddr is where the other end is now.
func (c *Conn) RemoteAddr() net.Addr { return c.session.RemoteAddr() }

// Done is closed as soon as the connection is lost or closed.
func (c *Conn) Done() <-chan struct{} { return c.session.CloseChan() }

// Err is why the connection ended (ErrLost, ErrClosed or the server's end), nil while it lives.
func (c *Conn) Err() error {
	if !c.session.IsClosed() {
		return nil
	}
	if cause := context.Cause(c.ctx); cause != nil {
		return cause
	}
	return ErrLost
}

// Close ends the connection with all its streams and cancels all handlers. It does not wait for them: see Wait.
func (c *Conn) Close() error {
	c.cancel(ErrClosed)
	return c.session.Close()
}

// Wait returns when the connection has ended and every handler that served it has returned.
func (c *Conn) Wait() { <-c.served }

// serve accepts the other side's streams until the connection ends.
func (c *Conn) serve() {
	defer close(c.served)
	defer c.handlers.Wait()
	stop := context.AfterFunc(c.ctx, func() { c.session.Close() })
	defer stop()
	for {
		raw, err := c.session.AcceptStream()
		if err != nil {
			c.cancel(lost(err))
			c.session.Close()
			return
		}
		select {
		case c.inbound <- struct{}{}:
			c.handlers.Go(func() {
				defer func() { <-c.inbound }()
				c.handle(raw)
			})
		default:
			c.logger.Warn("closing a stream: the peer has too many open", "peer", c.peer.String(), "max", cap(c.inbound))
			cut(raw)
		}
	}
}

// handle serves one stream of the other side.
func (c *Conn) handle(raw *yamux.Stream) {
	defer cut(raw)
	_ = raw.SetReadDeadline(time.Now().Add(openTimeout))
	kind, payload, err := readFrame(raw, MaxMessageBytes)
	if err == nil && kind != frameOpen {
		err = fmt.Errorf("it began with a frame of kind %d", kind)
	}
	if err != nil {
		c.logger.Debug("dropping a stream that did not say what it wants", "peer", c.peer.String(), "error", err)
		return
	}
	_ = raw.SetReadDeadline(time.Time{})
	if err := c.dispatch(raw, payload); err != nil {
		_ = writeFrame(raw, frameError, MaxMessageBytes, toWire(err))
	}
}

// dispatch runs the handler. Its error is what the caller shall hear.
func (c *Conn) dispatch(raw *yamux.Stream, payload []byte) error {
	o, request, err := split(payload)
	if err != nil {
		return Errorf(CodeInvalid, "%v", err)
	}
	m, err := c.methods.find(o, c.peer)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	if o.Timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, time.Duration(o.Timeout))
		defer stop()
	}
	if m.call != nil {
		var reply any
		err := guard(c.logger, o.Method, c.peer, func() (err error) {
			reply, err = m.call(ctx, Caller{Peer: c.peer, Conn: c}, request)
			return err
		})
		if err != nil {
			return err
		}
		return writeFrame(raw, frameData, MaxMessageBytes, reply)
	}
	return c.converse(ctx, cancel, raw, o.Method, m, request)
}

// converse runs the handler of a stream beside its pump.
func (c *Conn) converse(ctx context.Context, cancel context.CancelCauseFunc, raw *yamux.Stream, name string, m method, request []byte) error {
	s := &Stream{raw: raw, ctx: ctx, inbound: make(chan []byte), pumped: make(chan struct{})}
	go s.pump(cancel)
	err := guard(c.logger, name, c.peer, func() error { return m.stream(ctx, Caller{Peer: c.peer, Conn: c}, request, s) })
	if err != nil {
		err = s.finish(frameError, toWire(err))
	} else {
		err = s.finish(frameEnd)
	}
	cancel(ErrClosed)
	cut(raw)
	<-s.pumped
	if err != nil {
		c.logger.Debug("the end of a stream did not reach the peer", "peer", c.peer.String(), "error", err)
	}
	return nil
}

// Call sends a request and waits for its reply. reply may be nil. Errors: *Error from the handler, ErrLost if the connection
// ended (the request may have been carried out), or ctx's. Without a deadline in ctx, DefaultCallTimeout holds.
func (c *Conn) Call(ctx context.Context, method string, request, reply any) error {
	if _, has := ctx.Deadline(); !has {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultCallTimeout)
		defer cancel()
	}
	s, err := c.open(ctx, method, kindCall, request)
	if err != nil {
		return fmt.Errorf("calling %s of %s: %w", method, c.peer, err)
	}
	defer s.Close()
	payload, err := s.nextFrame()
	if err != nil {
		return callError(method, c.peer, err)
	}
	return decode(payload, reply)
}

// callError leaves a handler's sentence as it is, and says of our own failures what failed.
func callError(method string, peer Peer, err error) error {
	var remote *Error
	if errors.As(err, &remote) {
		return remote
	}
	return fmt.Errorf("calling %s of %s: %w", method, peer, err)
}

// Open starts a stream. It does not wait for the other side: a refusal comes with the first Recv. The stream ends with ctx;
// Close must be called.
func (c *Conn) Open(ctx context.Context, method string, request any) (*Stream, error) {
	s, err := c.open(ctx, method, kindStream, request)
	if err != nil {
		return nil, fmt.Errorf("opening %s of %s: %w", method, c.peer, err)
	}
	return s, nil
}

// OpenRaw starts a stream whose handler calls Raw, and returns it as a bare connection that outlives ctx: ctx bounds the opening only.
// The connection also has CloseWrite() error.
func (c *Conn) OpenRaw(ctx context.Context, method string, request any) (net.Conn, error) {
	s, err := c.open(ctx, method, kindStream, request)
	if err != nil {
		return nil, fmt.Errorf("opening %s of %s: %w", method, c.peer, err)
	}
	kind, payload, err := readFrame(s.raw, MaxMessageBytes)
	switch {
	case err != nil:
		err = s.failure(err)
	case kind == frameError:
		err = decodeError(payload)
	case kind != frameRaw:
		err = Errorf(CodeInvalid, "the method does not give a bare connection")
	}
	if err != nil {
		s.Close()
		return nil, callError(method, c.peer, err)
	}
	raw := &rawConn{Stream: s.raw, closed: s.release}
	s.once.Do(func() {}) // from here the bare connection closes
	if !s.detach() {
		raw.Close()
		return nil, callError(method, c.peer, context.Cause(ctx))
	}
	return raw, nil
}
