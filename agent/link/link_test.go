package link

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// fakeServer is a server's rpc side with scripted answers.
type fakeServer struct {
	name    string
	address string
	stop    func()

	mu      sync.Mutex
	leader  string
	servers []wire.ServerAddress
	beats   int
	table   uint64 // that the last heartbeat told
	asked   uint64 // the revision that was asked for last
	gets    int
	refuse  error
	mute    bool // answers nothing, as a server whose machine is too busy
	dialled int  // streams of heartbeats
	watches int
	since   uint64   // of the last watch
	known   uint64   // the revision of which watches begin; those from an earlier one go on
	unknown []string // resources that it does not tell nodes of
}

func (s *fakeServer) heartbeat(_ context.Context, _ rpc.Caller, _ *wire.Heartbeats, stream *rpc.Stream) error {
	s.mu.Lock()
	s.dialled++
	s.mu.Unlock()
	for {
		var beat wire.Heartbeat
		if err := stream.Recv(&beat); err != nil {
			return err
		}
		s.mu.Lock()
		s.beats++
		s.table = beat.Table
		reply := wire.HeartbeatReply{Sequence: beat.Sequence, Leader: s.leader, Servers: s.servers, LeaderContact: s.leader != ""}
		mute := s.mute
		s.mu.Unlock()
		if mute {
			continue
		}
		if err := stream.Send(&reply); err != nil {
			return err
		}
	}
}

func (s *fakeServer) get(ctx context.Context, _ rpc.Caller, _ *wire.GetRequest) (*wire.GetReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mute {
		s.gets++
		s.mu.Unlock()
		<-ctx.Done()
		s.mu.Lock()
		return nil, ctx.Err()
	}
	s.gets++
	return &wire.GetReply{Found: true, Object: []byte(s.name)}, s.refuse
}

func (s *fakeServer) write(context.Context, rpc.Caller, *wire.WriteRequest) (*wire.WriteReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &wire.WriteReply{}, s.refuse
}

func (s *fakeServer) awaitTables(_ context.Context, _ rpc.Caller, q *wire.AwaitTables) (*wire.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = q.Revision
	return &wire.Empty{}, s.refuse
}

func (s *fakeServer) watch(ctx context.Context, _ rpc.Caller, q *wire.WatchRequest, stream *rpc.Stream) error {
	s.mu.Lock()
	s.watches++
	s.since = q.Since
	known, unknown := s.known, s.unknown
	s.mu.Unlock()
	for _, r := range q.Resources {
		if slices.Contains(unknown, r) {
			return rpc.Errorf(rpc.CodeDenied, "a node may not watch %s", r) // as every version has said it
		}
	}
	if q.Since > 0 {
		if err := stream.Send(&wire.Event{Type: wire.EventResumed, Revision: q.Since}); err != nil {
			return err
		}
	}
	if err := stream.Send(&wire.Event{Type: wire.EventPut, Resource: "pods", Name: "from-" + s.name}); err != nil {
		return err
	}
	if err := stream.Send(&wire.Event{Type: wire.EventSynced, Revision: known}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s *fakeServer) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func identity(t *testing.T, ca *pki.CA, role pki.Role, name string) *pki.Identity {
	t.Helper()
	pair, err := ca.IssuePeer(pki.Peer{Role: role, Name: name}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	id, err := pki.NewIdentity(pki.Material{Pair: pair, CA: ca.CertPEM()})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func startFake(t *testing.T, ca *pki.CA, name string) *fakeServer {
	t.Helper()
	s := &fakeServer{name: name}
	m := rpc.NewMethods()
	rpc.RegisterStream(m, wire.MethodHeartbeat, rpc.Nodes, s.heartbeat)
	rpc.Register(m, wire.MethodGet, rpc.Nodes, s.get)
	rpc.Register(m, wire.MethodWrite, rpc.Nodes, s.write)
	rpc.Register(m, wire.MethodAwaitTables, rpc.Nodes, s.awaitTables)
	rpc.RegisterStream(m, wire.MethodWatch, rpc.Nodes, s.watch)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	srv := rpc.NewServer(identity(t, ca, pki.RoleServer, name), m, hclog.NewNullLogger())
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ctx, l) })
	s.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(s.stop)
	return s
}

// world is two servers that know each other, of which a leads, and a link that was told of a only.
func world(t *testing.T) (a, b *fakeServer, l *Link) {
	t.Helper()
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	a, b = startFake(t, ca, "a"), startFake(t, ca, "b")
	both := []wire.ServerAddress{{Name: "a", Address: a.address}, {Name: "b", Address: b.address}}
	for _, s := range []*fakeServer{a, b} {
		s.set(func() { s.leader, s.servers = "a", both })
	}
	l = New(Config{Identity: identity(t, ca, pki.RoleNode, "n"), Seeds: both[:1], Logger: hclog.NewNullLogger()})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = l.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	eventually(t, "both servers hear heartbeats", func() bool { return a.count(&a.beats) > 0 && b.count(&b.beats) > 0 })
	return a, b, l
}

func (s *fakeServer) count(n *int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *n
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

func TestCallsGoToTheLeader(t *testing.T) {
	a, b, l := world(t)
	answered := func() string {
		obj, _, err := l.Get(context.Background(), "secrets", "ns", "x")
		if err != nil {
			t.Fatal(err)
		}
		return string(obj)
	}
	if got := answered(); got != "a" {
		t.Errorf("%s answered, want the leader a", got)
	}
	for _, s := range []*fakeServer{a, b} {
		s.set(func() { s.leader = "b" })
	}
	eventually(t, "calls follow the leader", func() bool { return answered() == "b" })
}

func TestAnotherServerIsAskedWhenOneIsGone(t *testing.T) {
	a, b, l := world(t)
	a.stop()
	b.set(func() { b.leader = "b" })
	obj, found, err := l.Get(context.Background(), "secrets", "ns", "x")
	if err != nil || !found || string(obj) != "b" {
		t.Errorf("%q, %v, %v", obj, found, err)
	}
}

func TestRefusalIsFinal(t *testing.T) {
	a, _, l := world(t)
	a.set(func() { a.refuse = rpc.Errorf(rpc.CodeDenied, "no") })
	if _, _, err := l.Get(context.Background(), "secrets", "ns", "x"); rpc.CodeOf(err) != rpc.CodeDenied {
		t.Errorf("error %v, want a denial", err)
	}
	if n := a.count(&a.gets); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// Only what no server will ever take is refused; all else may be tried again.
func TestRefusedWrites(t *testing.T) {
	a, b, l := world(t)
	for _, c := range []struct {
		code    rpc.Code
		refused bool
	}{{rpc.CodeDenied, true}, {rpc.CodeInvalid, true}, {rpc.CodeTooLarge, true}, {rpc.CodeInternal, false}, {rpc.CodeNotLeader, false}} {
		for _, s := range []*fakeServer{a, b} {
			s.set(func() { s.refuse = rpc.Errorf(c.code, "no") })
		}
		if err := l.Write(context.Background(), []ops.Op{&ops.PutMeta{Key: "k"}}); err == nil || errors.Is(err, ops.ErrRefused) != c.refused {
			t.Errorf("%v: %v, want refused=%v", c.code, err, c.refused)
		}
	}
}

func TestNoServerInTime(t *testing.T) {
	ca, _ := pki.NewCA("test", time.Now())
	l := New(Config{Identity: identity(t, ca, pki.RoleNode, "n"), Logger: hclog.NewNullLogger()})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := l.Write(ctx, []ops.Op{&ops.PutMeta{Key: "k"}}); !errors.Is(err, ErrNoServer) {
		t.Errorf("error %v, want ErrNoServer", err)
	}
}

// journal notes what a sink was told.
type journal struct {
	mu   sync.Mutex
	told []string
}

func (j *journal) note(s string) { j.mu.Lock(); defer j.mu.Unlock(); j.told = append(j.told, s) }

func (j *journal) Begin(without []string) {
	j.note(strings.Join(append([]string{"begin"}, without...), " without "))
}

func (j *journal) Event(e *wire.Event) { j.note(e.Name) }
func (j *journal) Synced(uint64)       { j.note("synced") }

func (j *journal) ends(want ...string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.told) < len(want) {
		return false
	}
	for i, w := range want {
		if j.told[len(j.told)-len(want)+i] != w {
			return false
		}
	}
	return true
}

// A watch goes on at another server when its own dies, and when its own loses the leader while another has not.
func TestWatchMoves(t *testing.T) {
	for name, lose := range map[string]func(a, b *fakeServer){
		"server dies":   func(a, b *fakeServer) { a.stop(); b.set(func() { b.leader = "b" }) },
		"server is cut": func(a, b *fakeServer) { a.set(func() { a.leader = "" }); b.set(func() { b.leader = "b" }) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b, l := world(t)
			j := &journal{}
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			wg.Go(func() { _ = l.Watch(ctx, []string{"pods"}, nil, j) })
			t.Cleanup(func() { cancel(); wg.Wait() })
			eventually(t, "the leader is watched", func() bool { return j.ends("begin", "from-a", "synced") })
			lose(a, b)
			eventually(t, "the other is watched", func() bool { return j.ends("begin", "from-b", "synced") })
		})
	}
}

// A server that is older refuses what it does not know. The watch goes on with the rest, and asks again when the server comes back as a newer
// one. What every server must know is not left out.
func TestWatchGoesOnWithoutWhatAnOlderServerDoesNotKnow(t *testing.T) {
	a, b, l := world(t)
	for _, s := range []*fakeServer{a, b} {
		s.set(func() { s.unknown, s.known = []string{"ingresses", "policies"}, 7 })
	}
	j := &journal{}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = l.Watch(ctx, []string{"pods"}, []string{"policies", "namespaces", "ingresses"}, j) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	eventually(t, "the rest is watched", func() bool { return j.ends("begin without policies without ingresses", "from-a", "synced") })

	for _, s := range []*fakeServer{a, b} {
		s.set(func() { s.unknown = nil })
	}
	l.mu.Lock()
	conn, _ := l.keepers["a"].current()
	l.mu.Unlock()
	conn.Close()
	eventually(t, "all is watched", func() bool { return j.ends("begin", "from-a", "synced") || j.ends("begin", "from-b", "synced") })

	for _, s := range []*fakeServer{a, b} {
		s.set(func() { s.unknown, s.watches = []string{"pods"}, 0 })
	}
	for _, name := range []string{"a", "b"} {
		l.mu.Lock()
		conn, _ := l.keepers[name].current()
		l.mu.Unlock()
		if conn != nil {
			conn.Close()
		}
	}
	eventually(t, "pods are asked for again and again, in vain", func() bool {
		return a.count(&a.watches)+b.count(&b.watches) > 3
	})
}

// A watch leaves a silent server as soon as another leads, not when its connection is given up, and stays with one that answers.
func TestWatchLeavesADeposedLeader(t *testing.T) {
	_, _, real := world(t)
	conns := map[string]*rpc.Conn{}
	for _, name := range []string{"a", "b"} {
		eventually(t, "a connection to "+name, func() bool {
			real.mu.Lock()
			defer real.mu.Unlock()
			conns[name], _ = real.keepers[name].current()
			return conns[name] != nil
		})
	}
	long := time.Now().Add(-2 * quietMax)
	for _, c := range []struct {
		leader  string
		silent  []string
		leaving bool // of a watch at a
	}{
		{leader: "a"}, {leader: "a", silent: []string{"a"}}, {leader: "b"}, {leader: "b", silent: []string{"b"}},
		{leader: "b", silent: []string{"a"}, leaving: true}, {leader: "", silent: []string{"a"}}, {leader: "gone", silent: []string{"a"}},
	} {
		l := &Link{leader: c.leader, keepers: map[string]*keeper{}}
		for name, conn := range conns {
			l.keepers[name] = &keeper{name: name, conn: conn, contact: true, last: time.Now().Add(time.Hour)}
		}
		for _, name := range c.silent {
			l.keepers[name].last = long
		}
		if got := l.deposed(conns["a"]); got != c.leaving {
			t.Errorf("leader %q, silent %v: leaving %v", c.leader, c.silent, got)
		}
	}
}

// A server that is late is left by those who wait for it, but not by the connection: it comes back to where it was.
func TestASilentServerIsLeftForAWhile(t *testing.T) {
	a, _, l := world(t)
	j := &journal{}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = l.Watch(ctx, []string{"pods"}, nil, j) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	eventually(t, "the leader is watched", func() bool { return j.ends("from-a", "synced") })
	get := func() string {
		got, _, err := l.Get(ctx, "pods", "default", "x")
		if err != nil {
			t.Error(err)
		}
		return string(got)
	}
	a.set(func() { a.mute = true })
	answer := make(chan string, 1)
	wg.Go(func() { answer <- get() })
	eventually(t, "the silent server is asked", func() bool { return a.count(&a.gets) > 0 })
	if got := <-answer; got != "b" {
		t.Errorf("%q answered", got)
	}
	eventually(t, "the watch goes on", func() bool { return j.ends("from-b", "synced") })
	a.set(func() { a.mute = false })
	eventually(t, "it is asked again", func() bool { return get() == "a" })
	if n := a.count(&a.dialled); n != 1 {
		t.Errorf("it was dialled %d times", n)
	}
}

// Where no other server answers, whoever waits waits on: a cluster that is late is no better served by asking again.
func TestAllServersSilent(t *testing.T) {
	a, b, l := world(t)
	b.stop()
	a.set(func() { a.mute = true })
	ctx, cancel := context.WithTimeout(context.Background(), silenceMax+time.Second)
	defer cancel()
	_, _, _ = l.Get(ctx, "pods", "default", "x")
	if n := a.count(&a.gets); n != 1 {
		t.Errorf("the same was asked %d times", n)
	}
}

// A watch that was synced goes on at another server from where it was: its sink hears of no new beginning.
func TestWatchGoesOn(t *testing.T) {
	a, b, l := world(t)
	a.set(func() { a.known = 7 })
	j := &journal{}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = l.Watch(ctx, []string{"pods"}, nil, j) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	eventually(t, "the leader is watched", func() bool { return j.ends("begin", "from-a", "synced") })
	a.stop()
	b.set(func() { b.leader = "b" })
	eventually(t, "the watch goes on", func() bool { return j.ends("begin", "from-a", "synced", "from-b") })
	b.set(func() {
		if b.since != 7 {
			t.Errorf("it was asked for from revision %d", b.since)
		}
	})
}

// A server that leaves the cluster is no longer dialled, and the new list is kept.
func TestServersComeAndGo(t *testing.T) {
	a, b, l := world(t)
	var kept []wire.ServerAddress
	var mu sync.Mutex
	l.cfg.Remember = func(list []wire.ServerAddress) { mu.Lock(); defer mu.Unlock(); kept = list }
	only := []wire.ServerAddress{{Name: "a", Address: a.address}}
	a.set(func() { a.servers = only })
	b.set(func() { b.servers = only })
	eventually(t, "b is forgotten", func() bool {
		mu.Lock()
		n := len(kept)
		mu.Unlock() // the link calls Remember under its own lock
		l.mu.Lock()
		defer l.mu.Unlock()
		return n == 1 && len(l.keepers) == 1
	})
}
