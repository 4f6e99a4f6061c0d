package rpc

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/peapod-sh/peapod/rpc/pki"
)

var (
	serverA = Peer{Role: pki.RoleServer, Name: "a"}
	serverB = Peer{Role: pki.RoleServer, Name: "b"}
	node1   = Peer{Role: pki.RoleNode, Name: "n1"}
)

// cluster is a CA and one running server, "a".
type cluster struct {
	ca      *pki.CA
	server  *Server
	address string
	stop    func()
}

func newCluster(t *testing.T, methods *Methods, change func(*Server)) *cluster {
	t.Helper()
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{ca: ca}
	c.server = NewServer(c.identity(t, serverA), methods, nil)
	if change != nil {
		change(c.server)
	}
	listener, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.address = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := c.server.Serve(ctx, listener); !errors.Is(err, context.Canceled) {
			t.Errorf("Serve: %v", err)
		}
	})
	c.stop = sync.OnceFunc(func() { cancel(); serving.Wait() })
	t.Cleanup(c.stop)
	return c
}

func (c *cluster) identity(t *testing.T, p Peer) *pki.Identity {
	t.Helper()
	pair, err := c.ca.IssuePeer(p, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	id, err := pki.NewIdentity(pki.Material{Pair: pair, CA: c.ca.CertPEM()})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (c *cluster) dial(t *testing.T, as Peer, methods *Methods) *Conn {
	t.Helper()
	conn, err := (&Dialer{Identity: c.identity(t, as), Methods: methods, Logger: hclog.NewNullLogger()}).Dial(t.Context(), c.address, serverA)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); conn.Wait() })
	return conn
}

type text struct{ Text string }

func echo(_ context.Context, from Caller, request *text) (*text, error) {
	return &text{Text: from.String() + " said " + request.Text}, nil
}

func TestCallKnowsTheCaller(t *testing.T) {
	methods := NewMethods()
	Register(methods, "echo", Anyone, echo)
	c := newCluster(t, methods, nil)
	conn := c.dial(t, node1, nil)
	var reply text
	if err := conn.Call(t.Context(), "echo", &text{"hi"}, &reply); err != nil {
		t.Fatal(err)
	}
	if want := "node/n1 said hi"; reply.Text != want {
		t.Errorf("reply %q, want %q", reply.Text, want)
	}
	if conn.Peer() != serverA {
		t.Errorf("peer %v, want %v", conn.Peer(), serverA)
	}
}

func TestErrorsCrossAsSentenceAndCode(t *testing.T) {
	methods := NewMethods()
	Register(methods, "plain", Anyone, func(context.Context, Caller, *text) (*text, error) { return nil, errors.New("it broke") })
	Register(methods, "coded", Anyone, func(context.Context, Caller, *text) (*text, error) {
		return nil, Errorf(CodeNotFound, "no %s", "thing")
	})
	Register(methods, "servers", Servers, echo)
	Register(methods, "slow", Anyone, func(ctx context.Context, _ Caller, _ *text) (*text, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	conn := newCluster(t, methods, nil).dial(t, node1, nil)
	for _, c := range []struct {
		method, sentence string
		code             Code
	}{
		{"plain", "it broke", CodeInternal},
		{"coded", "no thing", CodeNotFound},
		{"servers", "node/n1 may not call servers", CodeDenied},
		{"nothing", `there is no method "nothing" here`, CodeNotFound},
	} {
		err := conn.Call(t.Context(), c.method, &text{}, nil)
		if CodeOf(err) != c.code || !strings.Contains(err.Error(), c.sentence) {
			t.Errorf("%s: %v (%v), want %q (%v)", c.method, err, CodeOf(err), c.sentence, c.code)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := conn.Call(ctx, "slow", &text{}, nil); CodeOf(err) != CodeTimeout {
		t.Errorf("slow: %v, want a timeout", err)
	}
	if err := conn.Call(t.Context(), "plain", &text{strings.Repeat("x", MaxMessageBytes)}, nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
}

// TestStreamBothWaysToACleanEnd: Invariant 43.
func TestStreamBothWaysToACleanEnd(t *testing.T) {
	methods := NewMethods()
	RegisterStream(methods, "double", Anyone, func(_ context.Context, _ Caller, first *text, s *Stream) error {
		for {
			if err := s.Send(&text{first.Text + first.Text}); err != nil {
				return err
			}
			if err := s.Recv(first); err == io.EOF {
				return s.Send(&text{"bye"})
			} else if err != nil {
				return err
			}
		}
	})
	conn := newCluster(t, methods, nil).dial(t, node1, nil)
	s, err := conn.Open(t.Context(), "double", &text{"a"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Send(&text{"b"}); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"aa", "bb", "bye"} {
		var got text
		if err := s.Recv(&got); err != nil || got.Text != want {
			t.Fatalf("received %q, %v; want %q", got.Text, err, want)
		}
	}
	if err := s.Recv(&text{}); err != io.EOF {
		t.Errorf("at the end: %v, want EOF", err)
	}
}

// Queued messages come in order with those that are sent, all of them, whatever their sizes.
func TestQueuedMessages(t *testing.T) {
	const n = 1000
	want := func(i int) string { return strings.Repeat(strconv.Itoa(i), i%7*i%300+1) }
	methods := NewMethods()
	RegisterStream(methods, "many", Anyone, func(_ context.Context, _ Caller, _ *text, s *Stream) error {
		for i := range n {
			say := s.Queue
			if i%100 == 50 {
				say = s.Send
			}
			if err := say(&text{want(i)}); err != nil {
				return err
			}
		}
		return nil // which sends what is queued
	})
	conn := newCluster(t, methods, nil).dial(t, node1, nil)
	s, err := conn.Open(t.Context(), "many", &text{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range n {
		var got text
		if err := s.Recv(&got); err != nil || got.Text != want(i) {
			t.Fatalf("message %d is %q, %v", i, got.Text, err)
		}
	}
	if err := s.Recv(&text{}); err != io.EOF {
		t.Errorf("at the end: %v, want EOF", err)
	}
}

func TestHandlerHearsThatTheOpenerIsGone(t *testing.T) {
	methods := NewMethods()
	gone := make(chan error, 1)
	RegisterStream(methods, "watch", Anyone, func(ctx context.Context, _ Caller, _ *text, s *Stream) error {
		err := s.Send(&text{"started"}) // may fail even if it arrived: the opener can be gone before Send returns
		if err == nil {
			<-ctx.Done() // only writes: never receives
			err = context.Cause(ctx)
		}
		gone <- err
		return nil
	})
	c := newCluster(t, methods, nil)
	for name, leave := range map[string]func(*Conn, *Stream, context.CancelFunc){
		"stream closed":  func(_ *Conn, s *Stream, _ context.CancelFunc) { s.Close() },
		"context ended":  func(_ *Conn, _ *Stream, cancel context.CancelFunc) { cancel() },
		"connection cut": func(conn *Conn, _ *Stream, _ context.CancelFunc) { conn.Close() },
	} {
		conn := c.dial(t, node1, nil)
		ctx, cancel := context.WithCancel(t.Context())
		s, err := conn.Open(ctx, "watch", &text{})
		if err != nil {
			t.Fatal(name, err)
		}
		if err := s.Recv(&text{}); err != nil {
			t.Fatal(name, err)
		}
		leave(conn, s, cancel)
		if err := <-gone; !errors.Is(err, ErrLost) {
			t.Errorf("%s: the handler's context ended with %v", name, err)
		}
		if err := s.Recv(&text{}); err == nil || err == io.EOF {
			t.Errorf("%s: the opener received %v, want an error that is not EOF", name, err)
		}
		s.Close()
		cancel()
	}
}

func TestServerCallsBackOverTheNodesConnection(t *testing.T) {
	methods, back := NewMethods(), NewMethods()
	Register(back, "who", Servers, echo)
	Register(methods, "ask me", Nodes, func(ctx context.Context, from Caller, _ *text) (*text, error) {
		var reply text
		return &reply, from.Conn.Call(ctx, "who", &text{"who are you"}, &reply)
	})
	conn := newCluster(t, methods, nil).dial(t, node1, back)
	var reply text
	if err := conn.Call(t.Context(), "ask me", &text{}, &reply); err != nil || reply.Text != "server/a said who are you" {
		t.Errorf("reply %q, %v", reply.Text, err)
	}
}

func TestHTTPOverARawStream(t *testing.T) {
	methods, back := NewMethods(), NewMethods()
	RegisterStream(back, "http", Servers, func(ctx context.Context, _ Caller, _ *text, s *Stream) error {
		conn, err := s.Raw()
		if err != nil {
			return err
		}
		return ServeHTTP(ctx, conn, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			_, _ = w.Write([]byte("got " + string(body)))
		}))
	})
	got := make(chan string, 2)
	Register(methods, "go", Nodes, func(ctx context.Context, from Caller, _ *text) (*text, error) {
		client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return from.Conn.OpenRaw(ctx, "http", &text{})
		}}}
		defer client.CloseIdleConnections()
		for _, body := range []string{"one", "two"} {
			response, err := client.Post("http://node/", "text/plain", strings.NewReader(body))
			if err != nil {
				return nil, err
			}
			answer, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil {
				return nil, err
			}
			got <- string(answer)
		}
		_, err := from.Conn.OpenRaw(ctx, "absent", &text{})
		return nil, err
	})
	conn := newCluster(t, methods, nil).dial(t, node1, back)
	if err := conn.Call(t.Context(), "go", &text{}, nil); CodeOf(err) != CodeNotFound {
		t.Fatalf("opening an absent method: %v", err)
	}
	if a, b := <-got, <-got; a != "got one" || b != "got two" {
		t.Errorf("answers %q, %q", a, b)
	}
}

func TestMessagesToABareConnectionAreRefused(t *testing.T) {
	methods, sent := NewMethods(), make(chan struct{})
	RegisterStream(methods, "raw", Anyone, func(_ context.Context, _ Caller, _ *text, s *Stream) error {
		<-sent
		_, err := s.Raw()
		return err
	})
	conn := newCluster(t, methods, nil).dial(t, node1, nil)
	s, err := conn.Open(t.Context(), "raw", &text{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	// Calls and streams share the connection in order, so when this has its answer, the end above has arrived.
	_ = conn.Call(t.Context(), "absent", &text{}, nil)
	close(sent)
	if err := s.Recv(&text{}); CodeOf(err) != CodeInvalid {
		t.Errorf("received %v", err)
	}
}

func TestOnlyPeersOfTheClusterAreHeard(t *testing.T) {
	methods := NewMethods()
	Register(methods, "echo", Anyone, echo)
	c := newCluster(t, methods, nil)
	other := newCluster(t, methods, nil)
	dial := func(id *pki.Identity, expect Peer) error {
		conn, err := (&Dialer{Identity: id}).Dial(t.Context(), c.address, expect)
		if err != nil {
			return err
		}
		defer conn.Wait()
		defer conn.Close()
		return conn.Call(t.Context(), "echo", &text{}, nil)
	}
	if err := dial(other.identity(t, serverB), serverA); err == nil {
		t.Error("a server of another cluster was accepted")
	}
	if err := dial(c.identity(t, node1), serverB); err == nil || !strings.Contains(err.Error(), "expected server/b and met server/a") {
		t.Errorf("a server of another name was accepted: %v", err)
	}
	if err := dial(c.identity(t, node1), Peer{Role: pki.RoleServer}); err != nil {
		t.Errorf("any server: %v", err)
	}
}
