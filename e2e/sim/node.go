package sim

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/rpc/fence"
)

const (
	beatPause   = 250 * time.Millisecond
	lookPause   = 500 * time.Millisecond
	leaseWait   = time.Second
	leaseAgain  = 200 * time.Millisecond
	killMost    = 1800 * time.Millisecond // less than fence.Default().Margin
	respawnMost = 12 * time.Second
)

// node is a machine with an agent, its supervisor and containers. The process is the agent.
type node struct {
	process
	c        *cluster
	machine  machine
	visor    process // stopped only with its machine
	guards   *fence.Guards
	programs map[string]*program // by the pod's UID

	// The agent's memory.
	server  *server // that it watches and asks
	index   uint64  // of the newest state that it has heard
	pods    map[string]*api.PodRecord
	lives   map[string]*life
	lease   fence.Lease
	since   uint64 // the state's index as of the lease
	asks    bool
	told    map[string]string // the last status written, by UID
	waiting []func()
}

// program is a pod's process.
type program struct {
	identity  string // of the single writer; "" if there may be many
	dying     bool
	overslept bool // its machine stood past its lease: it has moments that nobody can take from it
}

// life is a pod in the agent's eyes.
type life struct {
	busy   bool // something is under way
	ending bool
}

func (n *node) boot() {
	n.start()
	n.server, n.index = n.c.servers[n.c.w.rng.IntN(len(n.c.servers))], 0
	n.pods, n.lives, n.told = nil, map[string]*life{}, map[string]string{}
	n.lease, n.since, n.asks, n.waiting = fence.Lease{}, 0, false, nil
	n.beat()
	n.look()
}

// beat shows every server that the agent lives.
func (n *node) beat() {
	for _, s := range n.c.servers {
		n.c.net.send(&n.process, &s.process, func() {
			s.tracker.Heartbeat(n.name, s.time())
			s.beats[n.name] = s.clock()
		})
	}
	n.sleep(beatPause, n.beat)
}

// look does what may have been lost: it has the pods told again, now and then by another server.
func (n *node) look() {
	if n.c.w.chance(20) {
		n.server = n.c.servers[n.c.w.rng.IntN(len(n.c.servers))]
	}
	s := n.server
	n.c.net.send(&n.process, &s.process, func() { s.tellNode(n.name) })
	if n.c.options.Sets && n.c.w.chance(20) {
		n.announce()
	}
	n.needLease()
	n.reconcile()
	n.sleep(lookPause, n.look)
}

// hear takes the newest picture of the node's pods.
func (n *node) hear(from *server, index uint64, pods []*api.PodRecord) {
	if from != n.server || index < n.index {
		return
	}
	n.index, n.pods = index, map[string]*api.PodRecord{}
	for _, p := range pods {
		n.pods[string(p.UID)] = p
	}
	n.reconcile()
}

// reconcile begins what is to be done for each pod.
func (n *node) reconcile() {
	if n.pods == nil {
		return
	}
	for _, uid := range slices.Sorted(maps.Keys(n.pods)) {
		p := n.pods[uid]
		if n.lives[uid] == nil {
			n.lives[uid] = &life{}
		}
		n.tend(uid, p, n.lives[uid])
	}
	for _, uid := range slices.Sorted(maps.Keys(n.programs)) {
		if n.pods[uid] == nil {
			n.kill(uid)
		}
	}
	for uid := range n.lives {
		if n.pods[uid] == nil {
			delete(n.lives, uid)
		}
	}
}

func (n *node) tend(uid string, p *api.PodRecord, l *life) {
	switch running := n.programs[uid] != nil; {
	case l.busy:
	case p.Deleting() && running:
		n.kill(uid)
	case p.Deleting():
		n.write(&ops.DeletePods{Now: n.time().Unix(), Rows: []ops.DeleteRow{{Namespace: p.Namespace(), Name: p.Name, UID: p.UID}}})
	case !running:
		n.begin(uid, p, l)
	default:
		n.report(p, true)
	}
}

// begin starts a pod, once it may: agent/fencing.go does the same.
func (n *node) begin(uid string, p *api.PodRecord, l *life) {
	l.busy = true
	done := func() { l.busy = false }
	identity := n.c.identity(p)
	if identity == "" {
		n.sleep(n.c.w.between(time.Millisecond, 300*time.Millisecond), func() { n.letGo(uid, "", done) })
		return
	}
	n.awaitLease(func() {
		until := n.lease.Until()
		n.stillOurs(p, done, func() {
			n.askVisor(func() bool { return n.guard(uid, until) }, func(ok bool) {
				if !ok {
					done()
					return
				}
				n.sleep(n.c.w.between(time.Millisecond, 2*time.Second), func() { n.letGo(uid, identity, done) })
			})
		})
	})
}

// stillOurs reads the pod as of the lease from whichever server answers first.
func (n *node) stillOurs(p *api.PodRecord, no, yes func()) {
	if n.c.options.Unread {
		yes()
		return
	}
	answered := false
	s, since, life := n.server, n.since, n.life
	n.c.net.send(&n.process, &s.process, func() {
		s.when(since, func() {
			now, ok := s.state.Pod(p.Namespace(), p.Name)
			ours := ok && now.UID == p.UID && now.Node == n.name
			n.answer(s, life, func() {
				switch {
				case answered:
				case ours:
					answered = true
					yes()
				default:
					answered = true
					no()
				}
			})
		})
	})
	n.sleep(leaseWait, func() {
		if !answered {
			answered = true
			no()
		}
	})
}

// answer comes over the connection of the question: an agent that was started again since does not hear it.
func (n *node) answer(from *server, life int, do func()) {
	n.c.net.send(&from.process, &n.process, func() {
		if n.life == life {
			do()
		}
	})
}

// askVisor has the supervisor do something, which it does whether or not the agent lives to hear of it.
func (n *node) askVisor(do func() bool, then func(bool)) {
	life := n.life
	n.visor.run(n.visor.life, func() {
		ok := do()
		n.run(life, func() { then(ok) })
	})
}

// letGo has a program begin. The last look at the lease is the supervisor's.
func (n *node) letGo(uid, identity string, done func()) {
	n.askVisor(func() bool {
		if n.programs[uid] != nil || identity != "" && !n.guards.MayStart(uid, n.visor.clock()) && !n.c.options.Ungated {
			return false
		}
		n.programs[uid] = &program{identity: identity}
		n.c.w.tell(n.name, "▶", n.c.label(uid, identity))
		n.c.checkWriters()
		return true
	}, func(bool) { done() })
}

// kill ends a program; that takes a moment.
func (n *node) kill(uid string) {
	p := n.programs[uid]
	if p == nil || p.dying {
		return
	}
	p.dying = true
	n.visor.sleep(n.c.w.between(0, killMost), func() {
		if n.programs[uid] == p {
			delete(n.programs, uid)
			n.c.w.tell(n.name, "■", n.c.label(uid, p.identity))
		}
	})
}

// report writes that a pod runs, or that it does not, if the servers do not know.
func (n *node) report(p *api.PodRecord, runs bool) {
	if p.Status.Ready() == runs {
		return
	}
	st := corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &metav1.Time{Time: base}}
	st.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", ContainerID: "peapod://" + string(p.UID)}}
	st.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	if n.c.identity(p) != "" {
		st.Conditions = append(st.Conditions, corev1.PodCondition{Type: api.FencedCondition, Status: corev1.ConditionFalse})
	}
	b, err := st.Marshal()
	if err != nil {
		panic(err)
	}
	n.write(&ops.PodStatuses{Rows: []ops.StatusRow{{Namespace: p.Namespace(), Name: p.Name, UID: p.UID, Status: b}}})
}

func (n *node) write(op ops.Op) {
	b, err := ops.Encode([]ops.Op{op})
	if err != nil {
		panic(err)
	}
	s := n.server
	n.c.net.send(&n.process, &s.process, func() { s.write(b) })
}

// awaitLease does something once the agent has a lease.
func (n *node) awaitLease(do func()) {
	if n.lease.Valid(n.clock()) {
		do()
		return
	}
	n.waiting = append(n.waiting, do)
	n.needLease()
}

// needLease keeps asking while a guarded pod runs or one waits.
func (n *node) needLease() {
	guarded := slices.ContainsFunc(slices.Collect(maps.Values(n.programs)), func(p *program) bool { return p.identity != "" })
	if n.asks || !guarded && len(n.waiting) == 0 {
		return
	}
	n.asks = true
	n.ask()
}

func (n *node) ask() {
	asked, s, answered, life := n.clock(), n.server, false, n.life
	n.c.net.send(&n.process, &s.process, func() {
		s.lease(n.name, s.time(), func(index uint64) {
			n.answer(s, life, func() {
				answered = true
				n.granted(asked, index)
			})
		})
	})
	pause := n.c.options.Times.Renew()
	n.sleep(leaseWait, func() {
		if answered {
			n.sleep(pause-leaseWait, n.askAgain)
			return
		}
		n.server = n.c.servers[n.c.w.rng.IntN(len(n.c.servers))]
		n.sleep(leaseAgain, n.askAgain)
	})
}

func (n *node) askAgain() {
	n.asks = false
	n.needLease()
}

// granted takes an answer over and hands the lease to the supervisor.
func (n *node) granted(asked time.Duration, index uint64) {
	n.lease.Renew(asked, n.c.options.Times.Lease)
	n.since = max(n.since, index)
	until := n.lease.Until()
	n.visor.run(n.visor.life, func() {
		n.fence(n.guards.Extend(until, n.visor.clock()))
		n.watchLease()
	})
	if !n.lease.Valid(n.clock()) {
		return
	}
	list := n.waiting
	n.waiting = nil
	for _, do := range list {
		do()
	}
}

func (n *node) guard(uid string, until time.Duration) bool {
	ok, kill := n.guards.Guard(uid, until, n.visor.clock())
	n.fence(kill)
	n.watchLease()
	return ok
}

// watchLease is the supervisor's timer.
func (n *node) watchLease() {
	left := n.guards.Until() - n.visor.clock()
	n.visor.sleep(left, func() { n.fence(n.guards.Expire(n.visor.clock())) })
}

// fence kills what has no lease any more.
func (n *node) fence(uids []string) {
	if n.c.options.Unfenced {
		return
	}
	for _, uid := range uids {
		if p := n.programs[uid]; p != nil {
			n.c.w.tell(n.name, "⊘", n.c.label(uid, p.identity))
			n.kill(uid)
		}
	}
}

// stand stops the whole machine, and wake lets it go on; what has outlived its lease by then is killed before anything else.
func (n *node) stand() { n.machine.stands = true }

func (n *node) wake() {
	n.machine.stands = false
	for uid, p := range n.programs {
		if p.identity != "" && !n.guards.MayStart(uid, n.visor.clock()) {
			p.overslept = true
		}
	}
	n.fence(n.guards.Expire(n.visor.clock()))
	n.visor.goOn()
	n.goOn()
}

// lose is a loss of power.
func (n *node) lose() {
	n.end()
	n.visor.end()
	n.programs = map[string]*program{}
}

// power brings the machine back, with nothing running.
func (n *node) power() {
	n.visor.start()
	n.guards, n.programs = fence.NewGuards(), map[string]*program{}
	n.boot()
}
