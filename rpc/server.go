package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/peapod-sh/peapod/rpc/pki"
)

// Joiner decides who may join: it checks the token in the replicated state and signs. Its error, best an Errorf with CodeDenied
// or CodeUnavailable, reaches the person who tries to join.
type Joiner interface {
	Join(ctx context.Context, request *JoinRequest) (*JoinReply, error)
}

// Server accepts all that servers and nodes say to one another on one port.
type Server struct {
	Identity *pki.Identity
	Methods  *Methods
	Joiner   Joiner // nil: nobody can join here
	Logger   hclog.Logger
	// Connected, if not nil, is told of every new connection, on a goroutine of that connection's own. It may keep the Conn
	// and must return when the connection is Done.
	Connected func(*Conn)
	// RaftEnded, if not nil, is told when a Raft connection that a peer had opened has ended. It must not wait.
	RaftEnded func(Peer)

	raft    chan net.Conn
	joining slots

	mu     sync.Mutex
	open   map[net.Conn]struct{} // all accepted connections, also those that Raft holds
	closed bool

	work sync.WaitGroup
}

// NewServer makes a server; its exported fields may be set until Serve.
func NewServer(identity *pki.Identity, methods *Methods, log hclog.Logger) *Server {
	return &Server{Identity: identity, Methods: methods, Logger: logger(log),
		raft: make(chan net.Conn, raftBacklog), joining: make(slots, maxJoining), open: map[net.Conn]struct{}{}}
}

// Listen opens the port. Its error says what to do.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	config := net.ListenConfig{KeepAliveConfig: tcpKeepAlive, Control: setUnackedMax}
	listener, err := config.Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("the address %s is taken: stop the process that listens there, or choose another port: %w", address, err)
	}
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return nil, fmt.Errorf("the address %s is not this machine's: choose one that `ip address` shows: %w", address, err)
	}
	if err != nil {
		return nil, fmt.Errorf("listening at %s: %w", address, err)
	}
	return listener, nil
}

// Serve accepts until ctx ends; then it closes all connections and returns when all handlers have returned.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	defer s.work.Wait()
	defer s.closeAll()
	defer cancel()
	for {
		conn, err := listener.Accept()
		switch {
		case ctx.Err() != nil:
			if conn != nil {
				conn.Close()
			}
			return ctx.Err()
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accepting: %w", err)
		case err != nil: // too many open files, mostly: wait for some to close
			s.Logger.Error("cannot accept a connection", "error", err)
			pause(ctx, 100*time.Millisecond)
		case !s.track(conn):
			s.Logger.Error("refusing a connection: too many are open", "max", MaxConnections)
			conn.Close()
		default:
			s.work.Go(func() { s.welcome(ctx, conn) })
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (s *Server) track(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.open) >= MaxConnections {
		return false
	}
	s.open[conn] = struct{}{}
	return true
}

func (s *Server) forget(conn net.Conn) {
	conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, conn)
}

func (s *Server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for conn := range s.open {
		conn.Close()
	}
}

// welcome does the handshake and hands the connection to the protocol that it is for.
func (s *Server) welcome(ctx context.Context, tcp net.Conn) {
	conn := tls.Server(tcp, s.tlsConfig())
	handshake, cancel := context.WithTimeout(ctx, handshakeTimeout)
	err := conn.HandshakeContext(handshake)
	cancel()
	if err == nil {
		err = s.route(ctx, conn, tcp)
	}
	if err != nil {
		s.forget(tcp)
		s.Logger.Debug("refused a connection", "from", tcp.RemoteAddr().String(), "error", err)
	}
}

// tlsConfig asks for the peer's certificate, except from those who come for their first one.
func (s *Server) tlsConfig() *tls.Config {
	peers := s.Identity.ServerConfig(protocolRPC, protocolRaft)
	peers.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if s.Joiner != nil && slices.Contains(hello.SupportedProtos, protocolJoin) {
			return s.Identity.OpenServerConfig(protocolJoin), nil
		}
		return nil, nil
	}
	return peers
}

// route serves the connection to its end, unless Raft takes it. With an error, it did nothing with it.
func (s *Server) route(ctx context.Context, conn *tls.Conn, tcp net.Conn) error {
	state := conn.ConnectionState()
	if state.NegotiatedProtocol == protocolJoin {
		s.serveJoin(ctx, conn)
		s.forget(tcp)
		return nil
	}
	peer, err := s.Identity.PeerOf(state)
	if err != nil {
		return err
	}
	switch state.NegotiatedProtocol {
	case protocolRPC:
		return s.serveConn(ctx, conn, tcp, peer)
	case protocolRaft:
		return s.offerRaft(ctx, conn, tcp, peer)
	}
	return errors.New("it offered no protocol that is spoken here")
}

func (s *Server) serveConn(ctx context.Context, conn *tls.Conn, tcp net.Conn, peer Peer) error {
	c, err := newConn(ctx, conn, peer, s.Methods, false, s.Logger)
	if err != nil {
		return err
	}
	defer s.forget(tcp)
	if s.Connected != nil {
		var told sync.WaitGroup
		defer told.Wait()
		told.Go(func() { s.Connected(c) })
	}
	c.serve()
	return nil
}
