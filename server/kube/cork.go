package kube

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// corkListener's connections can be corked.
type corkListener struct{ net.Listener }

func (l corkListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &corkConn{Conn: c}, nil
}

// corkConn can hold back what is written, below TLS, until it is all there: net/http cuts a message into writes of 4 KiB and a rest, each of
// which is a call of the kernel and wakes the client.
type corkConn struct {
	net.Conn

	mu   sync.Mutex    // held while writing too, since records of TLS must stay in order
	held *bytes.Buffer // nil if nothing is held back
}

func (c *corkConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held != nil {
		return c.held.Write(p)
	}
	return c.Conn.Write(p)
}

func (c *corkConn) cork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = messageBuffers.Get().(*bytes.Buffer)
}

// uncork writes what was held back.
func (c *corkConn) uncork() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.held
	c.held = nil
	_, err := c.Conn.Write(b.Bytes())
	releaseMessage(b)
	return err
}

type corkKey struct{}

// withCork lets the requests of a connection find it.
func withCork(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		if k, ok := t.NetConn().(*corkConn); ok {
			return context.WithValue(ctx, corkKey{}, k)
		}
	}
	return ctx
}

// corkOf is the connection of a request that has it to itself; nil of another, as one of HTTP/2 is.
func corkOf(r *http.Request) *corkConn {
	c, _ := r.Context().Value(corkKey{}).(*corkConn)
	if r.ProtoMajor != 1 {
		return nil
	}
	return c
}
