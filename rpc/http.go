package rpc

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
)

// ServeHTTP answers HTTP/1.1 requests on one connection, as Stream.Raw returns it, until it is closed, hijacked and closed, or ctx ends.
func ServeHTTP(ctx context.Context, conn net.Conn, handler http.Handler) error {
	listener := &oneConn{conn: make(chan net.Conn, 1), done: make(chan struct{})}
	listener.conn <- &tracked{Conn: conn, closed: listener.finish}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: openTimeout,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { conn.Close(); listener.finish() })
	defer stop()
	err := server.Serve(listener)
	_ = server.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// oneConn is a listener that accepts one connection, and ends when that is closed.
type oneConn struct {
	conn chan net.Conn
	done chan struct{}
	once sync.Once
}

func (l *oneConn) finish() { l.once.Do(func() { close(l.done) }) }

// Accept returns the connection once, then blocks until it is closed.
func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conn:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (l *oneConn) Close() error {
	l.finish()
	return nil
}

// Addr is the address of nothing.
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

var _ net.Listener = (*oneConn)(nil)
