package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/peapod-sh/peapod/rpc/pki"
)

// Resolver tells which server a Raft address means and where it is now. With names as Raft addresses a server may
// move to another IP address without Raft noticing. An empty name accepts any server at that address.
type Resolver func(address raft.ServerAddress) (name, hostPort string, err error)

// StreamLayer carries Raft over the server's port.
type StreamLayer struct {
	server  *Server
	self    raftAddr
	resolve Resolver
	closed  chan struct{}
	once    sync.Once
}

var _ raft.StreamLayer = (*StreamLayer)(nil)

// NewStreamLayer makes the layer; self is this server's own Raft address as the others know it. One layer a server.
func NewStreamLayer(server *Server, self raft.ServerAddress, resolve Resolver) *StreamLayer {
	return &StreamLayer{server: server, self: raftAddr(self), resolve: resolve, closed: make(chan struct{})}
}

type raftAddr string

func (raftAddr) Network() string  { return "peapod" }
func (a raftAddr) String() string { return string(a) }

// Addr is self.
func (l *StreamLayer) Addr() net.Addr { return l.self }

// Accept returns the next connection of another server.
func (l *StreamLayer) Accept() (net.Conn, error) {
	select {
	case conn := <-l.server.raft:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept. Connections end with the server.
func (l *StreamLayer) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Dial connects to another server.
func (l *StreamLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	name, hostPort, err := l.resolve(address)
	if err != nil {
		return nil, fmt.Errorf("looking up server %s: %w", address, err)
	}
	expect := Peer{Role: pki.RoleServer, Name: name}
	conn, err := dialTLS(ctx, hostPort, l.server.Identity.ClientConfig(expect, protocolRaft))
	if err != nil {
		return nil, fmt.Errorf("dialling %s at %s for Raft: %w", expect, hostPort, err)
	}
	return conn, nil
}

// offerRaft gives the connection to Raft, which closes it.
func (s *Server) offerRaft(ctx context.Context, conn *tls.Conn, tcp net.Conn, peer Peer) error {
	if peer.Role != pki.RoleServer {
		return fmt.Errorf("%s may not speak Raft", peer)
	}
	select {
	case s.raft <- &raftConn{&tracked{Conn: conn, closed: func() { s.raftEnded(tcp, peer) }}}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(handshakeTimeout):
		return fmt.Errorf("Raft took no connection for %v", handshakeTimeout)
	}
}

func (s *Server) raftEnded(tcp net.Conn, peer Peer) {
	s.forget(tcp)
	if s.RaftEnded != nil {
		s.RaftEnded(peer)
	}
}

// raftConn ends like one that its peer has closed when this server closes it because it stops: to Raft anything else is an error to be logged.
type raftConn struct{ net.Conn }

func (c *raftConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if errors.Is(err, net.ErrClosed) {
		err = io.EOF
	}
	return n, err
}

// tracked tells the server when its holder closes the connection.
type tracked struct {
	net.Conn
	closed func()
}

// Close closes and lets the server forget the connection.
func (t *tracked) Close() error {
	err := t.Conn.Close()
	t.closed()
	return err
}

// CloseWrite passes on half a close, where the connection knows one.
func (t *tracked) CloseWrite() error {
	if half, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return t.Close()
}
