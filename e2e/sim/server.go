package sim

import (
	"slices"
	"time"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/rpc/fence"
	"github.com/peapod-sh/peapod/rpc/liveness"
	"github.com/peapod-sh/peapod/sched/reconcile"
)

// server is one of the cluster's: its log, its copy of the state, and, while it leads, the controllers.
type server struct {
	process
	raft
	c                *cluster
	diskMin, diskMax time.Duration

	state   *fsm.FSM
	changes *fsm.Tail // of everything, for the checks
	waits   []wait    // for the state to come to an index
	tracker *liveness.Tracker
	beats   map[string]time.Duration
	work    *term
	replies map[int]reply // to those who wait for what became of an entry, by its index
}

// reply is called with what became of an entry, if it is the one of that term that was committed there.
type reply struct {
	term uint64
	do   func([]ops.Result)
}

type wait struct {
	index uint64
	do    func()
}

// term is one leadership's work, as server/term.go does it.
type term struct {
	s        *server
	number   uint64
	begins   int // index of its own first entry; it begins when that is applied
	leases   *fence.Leases
	engine   *reconcile.Engine
	tail     *fsm.Tail
	pending  []ops.Op
	waits    int // index of the entry with pending; 0 is none
	verdicts []liveness.Transition
}

func (s *server) others() []*server {
	return slices.DeleteFunc(slices.Clone(s.c.servers), func(o *server) bool { return o == s })
}

// boot starts the process: the log is on disk, all else is made anew.
func (s *server) boot() {
	s.start()
	s.role, s.leader, s.commit, s.heard = follower, nil, 0, s.clock()
	s.state, s.waits, s.work, s.replies = fsm.New(), nil, nil, map[int]reply{}
	_, s.changes = s.state.TailAll(func(*api.Change) bool { return true })
	s.tracker, s.beats = liveness.New(liveness.Default()), map[string]time.Duration{}
	s.watchElection()
}

// apply takes one committed entry in, as every server does in the same order.
func (s *server) apply(index int, e entry) {
	results := s.state.Apply(uint64(index), e.data)
	changes, err := s.changes.Take()
	if err != nil {
		panic(err)
	}
	s.c.applied(index, e, changes)
	if t := s.work; t != nil {
		if index == t.begins {
			t.begin()
		}
		t.await(index, results)
		t.pump()
	}
	if r, asked := s.replies[index]; asked {
		delete(s.replies, index)
		if r.term == e.term {
			r.do(results)
		}
	}
	s.serveWaits()
	s.tellNodes(changes)
}

// submit proposes an op and has something done with its result, unless this server is no leader or dies before.
func (s *server) submit(op ops.Op, then func(ops.Outcome)) {
	b, err := ops.Encode([]ops.Op{op})
	if err != nil {
		panic(err)
	}
	s.replies[s.propose(b)] = reply{s.term, func(results []ops.Result) { then(results[0].Rows[0]) }}
}

func (s *server) serveWaits() {
	due := s.waits
	s.waits = nil
	for _, w := range due {
		s.when(w.index, w.do)
	}
}

// when does something once the state has come to an index.
func (s *server) when(index uint64, do func()) {
	if s.state.Index() >= index {
		do()
		return
	}
	s.waits = append(s.waits, wait{index, do})
}

func (s *server) awaitTerm(first int) { s.work = &term{s: s, number: s.term, begins: first} }

func (s *server) endTerm() { s.work = nil }

// begin is what server/lead.go does once the log of earlier terms is applied.
func (t *term) begin() {
	s := t.s
	t.leases = fence.NewLeases(s.c.options.Times, s.time())
	t.engine = reconcile.New(reconcile.Config{Seed: s.c.seed + t.number, ClusterCIDR: clusterCIDR, Leases: t.leases,
		StatusPause: 100 * time.Millisecond, PodEventsPerSecond: 100})
	var view *fsm.View
	view, t.tail = s.state.TailAll(func(*api.Change) bool { return true })
	t.engine.Load(view)
	for _, n := range s.c.nodes {
		if at, ok := s.beats[n.name]; ok && s.clock()-at < time.Second {
			t.verdicts = append(t.verdicts, liveness.Transition{Node: n.name, Change: liveness.Revived})
		} else {
			s.tracker.Expect(n.name, s.time())
		}
	}
	t.watch()
	s.sleep(samplePause, t.sample)
}

// watch asks for verdicts as long as the term lasts.
func (t *term) watch() {
	s := t.s
	if s.work != t {
		return
	}
	evidence := liveness.Evidence{Quorum: s.role == leader, Gossip: func(node string) liveness.State { return s.c.gossip(s, node) }}
	if found := s.tracker.Tick(s.time(), evidence); len(found) > 0 {
		t.verdicts = append(t.verdicts, found...)
		t.pump()
	}
	s.sleep(s.tracker.Pace(), t.watch)
}

// pump decides and proposes, one proposal at a time.
func (t *term) pump() {
	s := t.s
	if s.work != t || t.engine == nil || t.waits != 0 {
		return
	}
	t.takeIn()
	t.judge()
	list, next := t.engine.Step(s.time())
	if len(list) > 0 {
		t.propose(list)
	} else if !next.IsZero() {
		s.sleep(next.Sub(s.time()), t.pump)
	}
}

// await is what goes on while a proposal is under way: what is committed is taken in. What the proposal itself has changed may be heard of
// before or after what failed in it.
func (t *term) await(index int, results []ops.Result) {
	if t.waits == 0 {
		return
	}
	if index != t.waits || index%2 == 0 {
		t.takeIn()
	}
	if index == t.waits {
		t.answered(results)
	}
}

func (t *term) takeIn() {
	changes, err := t.tail.Take()
	if err != nil {
		panic(err)
	}
	for _, c := range changes {
		t.engine.Observe(c)
	}
}

func (t *term) judge() {
	for _, v := range t.verdicts {
		switch v.Change {
		case liveness.Died:
			t.s.c.w.tell(t.s.name, "†", v.Node)
			t.engine.NodeDown(v.Node)
		case liveness.Revived:
			t.engine.NodeUp(v.Node)
		}
	}
	t.verdicts = nil
}

func (t *term) propose(list []ops.Op) {
	b, err := ops.Encode(list)
	if err != nil {
		panic(err)
	}
	s := t.s
	s.c.promise(s, list, b)
	t.pending = list
	t.waits = t.s.propose(b)
}

func (t *term) answered(results []ops.Result) {
	list := t.pending
	t.waits, t.pending = 0, nil
	for i := range results {
		for row, outcome := range results[i].Rows {
			if outcome != ops.Applied {
				t.engine.Failed(list[i], row, outcome)
			}
		}
	}
}

// lease answers a node's question, by way of the leader if that is another.
func (s *server) lease(node string, asked time.Time, reply func(index uint64)) {
	if s.role != leader {
		if l := s.leader; l != nil {
			s.c.net.send(&s.process, &l.process, func() {
				if l.role == leader {
					l.lease(node, l.time(), func(index uint64) { l.c.net.send(&l.process, &s.process, func() { reply(index) }) })
				}
			})
		}
		return
	}
	t := s.work
	if t == nil || t.leases == nil || !t.leases.Allowed(node) {
		return
	}
	s.confirm(func() {
		if t.leases.Grant(node, asked) {
			reply(s.state.Index())
		}
	})
}

// confirm does something once a majority has answered that it is still in this server's term.
func (s *server) confirm(do func()) {
	term, votes, done := s.term, 1, false
	if s.c.options.Unconfirmed {
		do()
		return
	}
	for _, o := range s.others() {
		s.c.net.send(&s.process, &o.process, func() {
			same := o.term == term
			s.c.net.send(&o.process, &s.process, func() {
				if same {
					votes++
				}
				if s.majority(votes) && !done && s.term == term && s.role == leader {
					done = true
					do()
				}
			})
		})
	}
}

// write takes a node's ops to the leader; what is lost the node writes again.
func (s *server) write(data []byte) {
	switch {
	case s.role == leader:
		s.propose(data)
	case s.leader != nil:
		l := s.leader
		s.c.net.send(&s.process, &l.process, func() {
			if l.role == leader {
				l.propose(data)
			}
		})
	}
}

// pods are all that its state has.
func (s *server) pods() (out []*api.PodRecord) {
	for _, n := range append(s.c.names(), "") {
		out = append(out, s.state.PodsOfNode(n)...)
	}
	return out
}

// tellNodes sends the pods of nodes that have changed to those that watch this server.
func (s *server) tellNodes(changes []*api.Change) {
	told := map[string]bool{}
	for _, c := range changes {
		for _, p := range []*api.PodRecord{c.OldPod, c.NewPod} {
			if p != nil && p.Node != "" && !told[p.Node] {
				told[p.Node] = true
				s.tellNode(p.Node)
			}
		}
	}
}

func (s *server) tellNode(name string) {
	n := s.c.node(name)
	if n.server != s || s.state.Index() == 0 {
		return
	}
	pods, index := s.state.PodsOfNode(name), s.state.Index()
	s.c.net.send(&s.process, &n.process, func() { n.hear(s, index, pods) })
}
