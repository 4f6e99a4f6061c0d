package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// Config of a link.
type Config struct {
	Identity *pki.Identity
	Seeds    []wire.ServerAddress // servers to dial first
	// Handler is the node's HTTP handler, which servers call for logs, exec and the like; nil if there is none.
	Handler http.Handler
	// Nodes are those of a fleet; none for a node of its own.
	Nodes []wire.Numbers
	// Remember is called with the servers whenever they have changed, to be kept for the next start; may be nil.
	Remember func([]wire.ServerAddress)
	Logger   hclog.Logger
}

// Link is the tie. Make it with New, start it with Run.
type Link struct {
	cfg    Config
	log    hclog.Logger
	dialer *rpc.Dialer
	born   time.Time // from which heartbeats are counted

	mu      sync.Mutex
	keepers map[string]*keeper
	leader  string
	changed chan struct{} // closed and replaced when a connection comes or the leader changes
	table   uint64        // the revision that heartbeats tell
	prompt  chan struct{} // closed and replaced when the next heartbeat is to come soon
	run     func(*keeper) // starts a keeper; nil before Run
}

// ErrNoServer means that no server could be reached in time.
var ErrNoServer = errors.New("no server of the cluster can be reached now")

// New makes a link; nothing happens before Run.
func New(cfg Config) *Link {
	l := &Link{cfg: cfg, log: cfg.Logger, born: time.Now(), keepers: map[string]*keeper{}, changed: make(chan struct{}), prompt: make(chan struct{})}
	methods := rpc.NewMethods()
	if cfg.Handler != nil {
		rpc.RegisterStream(methods, wire.MethodNodeHTTP, rpc.Servers, l.serveHTTP)
	}
	l.dialer = &rpc.Dialer{Identity: cfg.Identity, Methods: methods, Logger: cfg.Logger}
	return l
}

// Run keeps the connections until ctx ends.
func (l *Link) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	l.mu.Lock()
	l.run = func(k *keeper) { wg.Go(func() { k.run(ctx) }) }
	l.mu.Unlock()
	l.learn(l.cfg.Seeds)
	<-ctx.Done()
	l.mu.Lock()
	l.run = nil
	l.mu.Unlock()
	return ctx.Err()
}

// learn makes the keepers match the servers that there are.
func (l *Link) learn(servers []wire.ServerAddress) {
	if len(servers) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.run == nil {
		return
	}
	different := false
	known := map[string]bool{}
	for _, s := range servers {
		known[s.Name] = true
		k := l.keepers[s.Name]
		if k == nil {
			k = &keeper{link: l, name: s.Name, moved: make(chan struct{}, 1)}
			l.keepers[s.Name] = k
			l.run(k)
		}
		different = k.moveTo(s.Address) || different
	}
	for name, k := range l.keepers {
		if !known[name] {
			different = true
			delete(l.keepers, name)
			k.stop()
		}
	}
	if different && l.cfg.Remember != nil {
		l.cfg.Remember(servers)
	}
}

// nextBeat is how long to wait for the next heartbeat: all servers get theirs at the same moments, which wakes this process once.
func (l *Link) nextBeat() time.Duration {
	return HeartbeatInterval - time.Since(l.born)%HeartbeatInterval
}

func (l *Link) heard(leader string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if leader != "" && leader != l.leader {
		l.leader = leader
		l.signalLocked()
	}
}

func (l *Link) signal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.signalLocked()
}

func (l *Link) signalLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// pick is a living connection: the leader's if there is one, else any. It waits for one.
func (l *Link) pick(ctx context.Context) (*rpc.Conn, error) {
	for {
		l.mu.Lock()
		c := l.pickLocked()
		changed := l.changed
		l.mu.Unlock()
		if c != nil {
			return c, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ErrNoServer
		}
	}
}

// pickLocked prefers the leader, then a server that knows of one, then any.
func (l *Link) pickLocked() *rpc.Conn {
	var second, third *rpc.Conn
	for name, k := range l.keepers {
		switch c, contact := k.current(); {
		case c == nil:
		case contact && name == l.leader:
			return c
		case contact:
			second = c
		default:
			third = c
		}
	}
	if second != nil {
		return second
	}
	return third
}

// contactBeside says whether another server answers that knows of a leader.
func (l *Link) contactBeside(k *keeper) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, other := range l.keepers {
		if c, contact := other.current(); other != k && c != nil && contact {
			return true
		}
	}
	return false
}

// whileHeard makes a context for work with one server, which ends with that server's silence if another one answers.
func (l *Link) whileHeard(ctx context.Context, conn *rpc.Conn) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.keepers {
		k.mu.Lock()
		heard := k.heard
		k.mu.Unlock()
		if c, _ := k.current(); c == conn && heard != nil && heard.Err() == nil {
			stop := context.AfterFunc(heard, cancel)
			return ctx, func() { stop(); cancel() }
		}
	}
	return ctx, cancel
}

// stale says that conn's server has lost its leader while another server knows of one.
func (l *Link) stale(conn *rpc.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	others := false
	for _, k := range l.keepers {
		c, contact := k.current()
		if c == conn && contact {
			return false
		}
		others = others || contact
	}
	return others
}

// call asks one server, and another if that one cannot be reached or has no leader, until ctx ends. A
// request that may have been carried out is made again only if it is idempotent, which all of ours are.
func (l *Link) call(ctx context.Context, method string, request, reply any) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	for {
		c, err := l.pick(ctx)
		if err != nil {
			return err
		}
		try, cancel := l.whileHeard(ctx, c)
		err = c.Call(try, method, request, reply)
		left := try.Err() != nil && ctx.Err() == nil
		cancel()
		if err == nil || !left && rpc.CodeOf(err) != rpc.CodeUnavailable {
			return err
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return err
		}
	}
}

// Register announces the node and returns what the cluster says of itself.
func (l *Link) Register(ctx context.Context, node []byte) (*wire.Registered, error) {
	reply := &wire.Registered{}
	if err := l.call(ctx, wire.MethodRegister, &wire.Register{Node: node}, reply); err != nil {
		return nil, fmt.Errorf("registering the node: %w", err)
	}
	return reply, nil
}

// Get reads one object as protobuf. An object that no pod of this node names is not found.
func (l *Link) Get(ctx context.Context, resource, namespace, name string) ([]byte, bool, error) {
	return l.GetSince(ctx, 0, resource, namespace, name)
}

// GetSince reads it as it was at an index of the log, or later.
func (l *Link) GetSince(ctx context.Context, index uint64, resource, namespace, name string) ([]byte, bool, error) {
	reply := &wire.GetReply{}
	if err := l.call(ctx, wire.MethodGet, &wire.GetRequest{Resource: resource, Namespace: namespace, Name: name, Index: index}, reply); err != nil {
		return nil, false, fmt.Errorf("reading %s %s/%s: %w", resource, namespace, name, err)
	}
	return reply.Object, reply.Found, nil
}

// Write proposes ops. Rows that did not apply are no error: their pods are gone or others. What the servers will never take is
// ops.ErrRefused.
func (l *Link) Write(ctx context.Context, list []ops.Op) error {
	encoded, err := ops.Encode(list)
	if err != nil {
		return err
	}
	reply := &wire.WriteReply{}
	if err := l.call(ctx, wire.MethodWrite, &wire.WriteRequest{Ops: encoded}, reply); err != nil {
		return fmt.Errorf("writing to the cluster: %w", markRefusal(err))
	}
	if reply.Error != "" {
		return errors.New(reply.Error)
	}
	return nil
}

func markRefusal(err error) error {
	switch rpc.CodeOf(err) {
	case rpc.CodeDenied, rpc.CodeInvalid, rpc.CodeTooLarge:
		return fmt.Errorf("%w: %w", ops.ErrRefused, err)
	}
	if errors.Is(err, rpc.ErrTooLarge) { // it did not even leave
		return fmt.Errorf("%w: %w", ops.ErrRefused, err)
	}
	return err
}

// Token has a service account token issued that a pod of this node asks for.
func (l *Link) Token(ctx context.Context, pod *corev1.Pod, audience string, seconds int64) ([]byte, error) {
	reply := &wire.TokenReply{}
	q := &wire.TokenRequest{Namespace: pod.Namespace, Pod: pod.Name, UID: string(pod.UID), Audience: audience, Seconds: seconds}
	if err := l.call(ctx, wire.MethodToken, q, reply); err != nil {
		return nil, fmt.Errorf("asking for a token for the service account of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return []byte(reply.Token), nil
}

// Lease asks the leader for one, by way of whichever server answers.
func (l *Link) Lease(ctx context.Context) (*wire.LeaseReply, error) {
	reply := &wire.LeaseReply{}
	if err := l.call(ctx, wire.MethodLease, &wire.LeaseRequest{}, reply); err != nil {
		return nil, fmt.Errorf("asking for a lease: %w", err)
	}
	return reply, nil
}

// Renew has a new key of this node signed.
func (l *Link) Renew(ctx context.Context, request []byte) (cert, ca []byte, err error) {
	reply := &wire.RenewReply{}
	if err := l.call(ctx, wire.MethodRenew, &wire.RenewRequest{Request: request}, reply); err != nil {
		return nil, nil, fmt.Errorf("renewing the certificate: %w", err)
	}
	return reply.Certificate, reply.CA, nil
}

// serveHTTP answers HTTP/1.1 requests on one stream until the server closes it.
func (l *Link) serveHTTP(ctx context.Context, _ rpc.Caller, _ *wire.Empty, stream *rpc.Stream) error {
	raw, err := stream.Raw()
	if err != nil {
		return err
	}
	closed := make(chan struct{})
	conn := &watchedConn{Conn: raw, closed: closed}
	srv := &http.Server{Handler: l.cfg.Handler, BaseContext: func(net.Listener) context.Context { return ctx }, ErrorLog: l.log.StandardLogger(nil)}
	_ = srv.Serve(&oneConn{conn: conn}) // it ends at once, by design, while the connection is served on
	select {
	case <-closed:
	case <-ctx.Done():
		_ = srv.Close()
		_ = conn.Close()
	}
	return nil
}

// watchedConn tells when it is closed.
type watchedConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *watchedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// CloseWrite carries a half-close through to the stream.
func (c *watchedConn) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return nil
}

// oneConn is a listener with a single connection.
type oneConn struct{ conn net.Conn }

func (l *oneConn) Accept() (net.Conn, error) {
	c := l.conn
	if c == nil {
		return nil, net.ErrClosed
	}
	l.conn = nil
	return c, nil
}
func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "rpc", Net: "rpc"} }
