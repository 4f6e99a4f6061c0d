package rpc

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/peapod-sh/peapod/rpc/pki"
)

// Pool keeps one connection to each server that is asked for, for a follower's calls to the leader. A lost connection is
// dialled again by the next call.
type Pool struct {
	dialer *Dialer
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu    sync.Mutex
	peers map[string]*pooled // by server name
}

// pooled is one server's entry. dialling is a lock that can be waited for with a context.
type pooled struct {
	dialling chan struct{}
	conn     *Conn
	address  string
}

// NewPool dials with the dialer's identity and offers its methods to the servers.
func NewPool(dialer *Dialer) *Pool {
	ctx, cancel := context.WithCancel(context.Background())
	return &Pool{dialer: dialer, ctx: ctx, cancel: cancel, peers: map[string]*pooled{}}
}

// Conn returns a live connection to the server, dialling it if there is none or the address has changed.
func (p *Pool) Conn(ctx context.Context, name, address string) (*Conn, error) {
	entry := p.entry(name)
	select {
	case entry.dialling <- struct{}{}:
		defer func() { <-entry.dialling }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if p.ctx.Err() != nil {
		return nil, ErrClosed
	}
	if entry.conn != nil && entry.conn.Err() == nil && entry.address == address {
		return entry.conn, nil
	}
	if entry.conn != nil {
		entry.conn.Close()
		entry.conn = nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	conn, err := p.dialer.Dial(ctx, address, Peer{Role: pki.RoleServer, Name: name})
	if err != nil {
		return nil, &Error{Code: CodeUnavailable, Message: fmt.Sprintf("server %s cannot be reached: %v", name, err)}
	}
	entry.conn, entry.address = conn, address
	return conn, nil
}

func (p *Pool) entry(name string) *pooled {
	p.mu.Lock()
	defer p.mu.Unlock()
	entry := p.peers[name]
	if entry == nil {
		entry = &pooled{dialling: make(chan struct{}, 1)}
		p.peers[name] = entry
	}
	return entry
}

// Call calls a method of the server. After ErrLost the request may have been carried out; the caller decides about repeating it.
func (p *Pool) Call(ctx context.Context, name, address, method string, request, reply any) error {
	conn, err := p.Conn(ctx, name, address)
	if err != nil {
		return err
	}
	return conn.Call(ctx, method, request, reply)
}

// Close ends all connections and waits for their handlers.
func (p *Pool) Close() error {
	p.cancel()
	p.mu.Lock()
	entries := make([]*pooled, 0, len(p.peers))
	for _, entry := range p.peers {
		entries = append(entries, entry)
	}
	p.mu.Unlock()
	var failures []error
	for _, entry := range entries {
		entry.dialling <- struct{}{} // a dial under way ends with p.ctx
		if entry.conn != nil {
			failures = append(failures, entry.conn.Close())
			entry.conn.Wait()
		}
		<-entry.dialling
	}
	return errors.Join(failures...)
}
