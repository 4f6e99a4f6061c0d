package rpc

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// gate lets in who has the token.
type gate struct {
	ca    *pki.CA
	token pki.Token
}

func (g *gate) Join(_ context.Context, r *JoinRequest) (*JoinReply, error) {
	if r.TokenID != g.token.ID || !pki.SecretMatches(pki.HashSecret(g.token.Secret), r.TokenSecret) {
		return nil, ErrBadToken
	}
	cert, err := g.ca.SignPeer(r.Request, Peer{Role: pki.Role(r.Role), Name: r.Name}, time.Now())
	return &JoinReply{Certificate: cert, CA: g.ca.CertPEM(), GossipKey: make([]byte, 32),
		Servers: []wire.ServerAddress{{Name: "a", Address: r.Address}}}, err
}

func TestJoinGivesAnIdentityThatWorks(t *testing.T) {
	methods, g := NewMethods(), &gate{}
	Register(methods, "echo", Anyone, echo)
	c := newCluster(t, methods, func(s *Server) { s.Joiner = g })
	g.ca, g.token = c.ca, pki.NewToken(c.ca)

	joined, err := Join(t.Context(), []string{"127.0.0.1:1", c.address}, g.token, node1, "")
	if err != nil {
		t.Fatal(err)
	}
	id, err := pki.NewIdentity(joined.Material)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := (&Dialer{Identity: id}).Dial(t.Context(), c.address, serverA)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Wait()
	defer conn.Close()
	var reply text
	if err := conn.Call(t.Context(), "echo", &text{"hi"}, &reply); err != nil || reply.Text != "node/n1 said hi" {
		t.Errorf("%q, %v", reply.Text, err)
	}
}

func TestJoinIsRefusedInOneSentence(t *testing.T) {
	g := &gate{}
	c := newCluster(t, NewMethods(), func(s *Server) { s.Joiner = g })
	g.ca, g.token = c.ca, pki.NewToken(c.ca)
	wrong := g.token
	wrong.Secret = strings.Repeat("0", 32)
	if _, err := Join(t.Context(), []string{c.address, c.address}, wrong, node1, ""); CodeOf(err) != CodeDenied || strings.Contains(err.Error(), "\n") {
		t.Errorf("wrong secret: %v", err)
	}
	other, _ := pki.NewCA("other", time.Now())
	if _, err := Join(t.Context(), []string{c.address}, pki.NewToken(other), node1, ""); !errors.Is(err, pki.ErrPin) {
		t.Errorf("another cluster's token: %v", err)
	}
	if _, err := Join(t.Context(), nil, g.token, node1, ""); err == nil {
		t.Error("joined nobody")
	}
}

// TestStrangerWithoutCertificateReachesOnlyJoin: Invariant 44.
func TestStrangerWithoutCertificateReachesOnlyJoin(t *testing.T) {
	c := newCluster(t, NewMethods(), nil) // no Joiner
	_, err := dialTLS(t.Context(), c.address, pki.PinnedConfig(c.ca.Hash(), protocolJoin))
	if err == nil {
		t.Error("join was answered where nobody can join")
	}
	conn, err := dialTLS(t.Context(), c.address, pki.PinnedConfig(c.ca.Hash(), protocolRPC))
	if err == nil { // with TLS 1.3 the refusal comes with the first read
		defer conn.Close()
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("rpc was answered without a certificate")
		}
	}
}

func TestRaftStreamsOverTheSamePort(t *testing.T) {
	c := newCluster(t, NewMethods(), nil)
	layer := NewStreamLayer(c.server, "a", nil)
	if layer.Addr().String() != "a" {
		t.Errorf("address %v", layer.Addr())
	}
	resolve := func(address raft.ServerAddress) (string, string, error) { return string(address), c.address, nil }
	dialler := NewStreamLayer(NewServer(c.identity(t, serverB), nil, nil), "b", resolve)
	out, err := dialler.Dial("a", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := layer.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = out.Write([]byte("vote"))
		out.Close()
	}()
	if got, err := io.ReadAll(in); string(got) != "vote" || err != nil {
		t.Errorf("received %q, %v", got, err)
	}
	in.Close()

	if _, err := dialler.Dial("c", time.Second); err == nil {
		t.Error("server a passed for c")
	}
	asNode := NewStreamLayer(NewServer(c.identity(t, node1), nil, nil), "n1", resolve)
	if conn, err := asNode.Dial("a", time.Second); err == nil {
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("a node speaks Raft")
		}
		conn.Close()
	}
	layer.Close()
	if _, err := layer.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
}

// TestRaftStreamsEndQuietlyWithTheServer: what the server closes under Raft's hands is to Raft a connection that has ended.
func TestRaftStreamsEndQuietlyWithTheServer(t *testing.T) {
	c := newCluster(t, NewMethods(), nil)
	resolve := func(address raft.ServerAddress) (string, string, error) { return string(address), c.address, nil }
	out, err := NewStreamLayer(NewServer(c.identity(t, serverB), nil, nil), "b", resolve).Dial("a", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := NewStreamLayer(c.server, "a", nil).Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := in.Read(make([]byte, 1))
		ended <- err
	}()
	c.stop()
	if err := <-ended; err != io.EOF {
		t.Errorf("Raft hears of %v", err)
	}
}

func TestPoolDialsAgainAfterALoss(t *testing.T) {
	methods := NewMethods()
	Register(methods, "echo", Anyone, echo)
	c := newCluster(t, methods, nil)
	pool := NewPool(&Dialer{Identity: c.identity(t, serverB)})
	first, err := pool.Conn(t.Context(), "a", c.address)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := pool.Conn(t.Context(), "a", c.address); again != first {
		t.Error("a second connection was dialled")
	}
	first.Close()
	first.Wait()
	var reply text
	if err := pool.Call(t.Context(), "a", c.address, "echo", &text{"hi"}, &reply); err != nil || reply.Text != "server/b said hi" {
		t.Errorf("%q, %v", reply.Text, err)
	}
	c.stop()
	if err := pool.Call(t.Context(), "a", c.address, "echo", &text{"hi"}, nil); err == nil {
		t.Error("called a server that is gone")
	}
	if err := pool.Call(t.Context(), "a", c.address, "echo", &text{"hi"}, nil); CodeOf(err) != CodeUnavailable {
		t.Errorf("the server is gone: %v", err)
	}
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
}

// The moment the server is gone, whatever waits at the node hears it.
// Invariant 43.
func TestLossIsHeardAtOnce(t *testing.T) {
	methods := NewMethods()
	started := make(chan struct{}, 1)
	Register(methods, "slow", Anyone, func(ctx context.Context, _ Caller, _ *text) (*text, error) {
		started <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	c := newCluster(t, methods, nil)
	conn := c.dial(t, node1, nil)
	failed := make(chan error, 1)
	go func() { failed <- conn.Call(t.Context(), "slow", &text{}, nil) }()
	<-started
	c.stop() // returns only when the handler has, whose context therefore ended
	if err := <-failed; !errors.Is(err, ErrLost) && CodeOf(err) == 0 {
		t.Errorf("the call ended with %v", err)
	}
	<-conn.Done()
	if conn.Err() == nil {
		t.Error("the connection does not say that it ended")
	}
}

func BenchmarkCall(b *testing.B) {
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		b.Fatal(err)
	}
	identity := func(p Peer) *pki.Identity {
		pair, _ := ca.IssuePeer(p, time.Now())
		id, err := pki.NewIdentity(pki.Material{Pair: pair, CA: ca.CertPEM()})
		if err != nil {
			b.Fatal(err)
		}
		return id
	}
	methods := NewMethods()
	Register(methods, "echo", Anyone, echo)
	listener, err := Listen(b.Context(), "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = NewServer(identity(serverA), methods, nil).Serve(ctx, listener) }()
	defer func() { cancel(); <-done }()
	conn, err := (&Dialer{Identity: identity(node1)}).Dial(ctx, listener.Addr().String(), serverA)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	b.ReportAllocs()
	for b.Loop() {
		if err := conn.Call(ctx, "echo", &text{"hi"}, &text{}); err != nil {
			b.Fatal(err)
		}
	}
}
