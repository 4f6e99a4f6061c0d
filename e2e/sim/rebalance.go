package sim

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/sched/reconcile"
	"github.com/peapod-sh/peapod/server/rebalance"
)

const (
	movesMost = 6
	waveMost  = 3
	moveAgain = time.Second
	movesWait = 30 * time.Second // for all of them
)

// mover is peapod operator rebalance --apply: cli/rebalance.go does the same.
type mover struct {
	c      *cluster
	moves  []rebalance.Move
	wave   []rebalance.Move // what is evicted before the pods are counted
	before int              // so many pods were ready
	until  time.Duration
}

// rebalance plans on the leader's state, and begins to carry it out.
func (c *cluster) rebalance() {
	if c.scaled.moving {
		return
	}
	c.ask(func(s *server) ops.Op {
		plan := rebalance.New(s.state.View(), movesMost)
		if len(plan.Moves) == 0 {
			return nil
		}
		c.w.tell("ctl", "⇄", fmt.Sprint(len(plan.Moves), " moves"))
		c.scaled.moving = true
		m := &mover{c: c, moves: plan.Moves, until: c.w.now + movesWait}
		m.next()
		return nil
	})
}

// next does one step, and the next one after a pause, however the one before has ended.
func (m *mover) next() {
	if m.c.w.now > m.until || len(m.moves) == 0 && len(m.wave) == 0 && m.before == 0 {
		m.c.scaled.moving = false
		return
	}
	m.c.ask(func(s *server) ops.Op {
		switch {
		case len(m.wave) > 0:
			m.evict(s, &m.wave[0])
		case m.c.ready(s) < m.before:
		default:
			m.before = 0
			n := min(waveMost, len(m.moves))
			m.wave, m.moves = m.moves[:n:n], m.moves[n:]
			if n > 0 {
				m.before = m.c.ready(s)
			}
		}
		return nil
	})
	m.c.w.after(m.c.w.between(moveAgain/10, moveAgain), m.next)
}

// ready counts the pods that the movers of app would wait for.
func (c *cluster) ready(s *server) (n int) {
	for _, p := range s.pods() {
		if isApp(p) && p.Status.Ready() && !p.Deleting() {
			n++
		}
	}
	return n
}

// evict asks the pod's budget and deletes it, as server/kube/eviction.go does.
func (m *mover) evict(s *server, v *rebalance.Move) {
	p, ok := s.state.Pod(v.Namespace, v.Name)
	if !ok || string(p.UID) != v.UID || p.Deleting() {
		m.wave = m.wave[1:]
		return
	}
	o, guarded := s.state.Get(reconcile.Budgets, "default", app)
	if !guarded || !isApp(p) || m.c.options.Unspent {
		m.remove(s, p)
		return
	}
	if !p.Status.Ready() {
		return // whether it may go without asking depends on more than this model has
	}
	b := o.(*policyv1.PodDisruptionBudget)
	next, err := api.SpendDisruption(b, p.Name, s.time())
	if err != nil {
		return // it waits for its budget
	}
	s.submit(&ops.Put{Resource: reconcile.Budgets, Object: next, Expect: revisionOf(b)}, func(o ops.Outcome) {
		if o == ops.Applied && s.role == leader {
			m.remove(s, p)
		}
	})
}

func (m *mover) remove(s *server, p *api.PodRecord) {
	m.c.w.tell("ctl", "⇥", m.c.label(string(p.UID), p.Name), "from", p.Node)
	m.c.scaled.evicting[p.UID] = isApp(p)
	s.submit(&ops.DeletePods{Now: s.time().Unix(), Rows: []ops.DeleteRow{{Namespace: p.Namespace(), Name: p.Name, UID: p.UID, Grace: -1}}}, func(ops.Outcome) {})
}

// promise checks what a leader is about to write into the budget's status: it is true of what it has seen.
func (c *cluster) promise(s *server, list []ops.Op, data []byte) {
	for _, op := range list {
		put, ok := op.(*ops.Put)
		if !ok || put.Resource != reconcile.Budgets {
			continue
		}
		status, healthy := &put.Object.(*policyv1.PodDisruptionBudget).Status, map[types.UID]bool{}
		for _, p := range s.pods() {
			if _, disrupted := status.DisruptedPods[p.Name]; isApp(p) && p.Status.Ready() && !p.Deleting() && !disrupted {
				healthy[p.UID] = true
			}
		}
		if allowed := int(status.DisruptionsAllowed); allowed > 0 && len(healthy)-allowed < appHealthy {
			c.w.fail("budgets are kept", "%d disruptions are allowed of %d healthy pods", allowed, len(healthy))
		}
		c.scaled.promises[string(data)] = healthy
	}
}

// checkScaled: an autoscaler, unlike a user, leaves the number of pods within its bounds; and of the pods that were counted when the
// budget's status was written, evictions leave as many as the budget keeps.
func (c *cluster) checkScaled(data []byte, x *api.Change) {
	switch {
	case x.Resource == reconcile.Deployments && x.Old != nil && x.New != nil:
		c.checkRescale(x.Old.(*appsv1.Deployment), x.New.(*appsv1.Deployment))
	case x.Resource == reconcile.Budgets:
		if healthy, decided := c.scaled.promises[string(data)]; decided {
			c.scaled.healthy = healthy
		}
	case x.Resource == reconcile.Pods && x.OldPod != nil && c.scaled.evicting[x.OldPod.UID] && !x.OldPod.Deleting() && (x.NewPod == nil || x.NewPod.Deleting()):
		c.scaled.evicted++
		if c.scaled.healthy[x.OldPod.UID] {
			delete(c.scaled.healthy, x.OldPod.UID)
			if len(c.scaled.healthy) < appHealthy {
				c.w.fail("budgets are kept", "%s is evicted, and %d healthy pods remain", x.OldPod.Name, len(c.scaled.healthy))
			}
		}
	}
}

func (c *cluster) checkRescale(old, now *appsv1.Deployment) {
	if *old.Spec.Replicas == *now.Spec.Replicas || old.Annotations[editAnnotation] != now.Annotations[editAnnotation] {
		return
	}
	c.scaled.rescaled++
	c.w.tell("ctl", "↕", app, fmt.Sprintf("replicas=%d", *now.Spec.Replicas))
	if n := *now.Spec.Replicas; n < appLeast || n > appMost {
		c.w.fail("within bounds", "%s is scaled to %d", app, n)
	}
}

// checkScale: in the end there are as many pods as the load wants, of the newest template.
func (c *cluster) checkScale(s *server) {
	if !c.options.Scaled {
		return
	}
	d := c.deployment(s)
	if n := int64(*d.Spec.Replicas); n < appLeast || n > appMost {
		c.w.fail("all is well", "%s has %d pods", app, n)
	}
	for _, p := range s.pods() {
		if want, got := d.Spec.Template.Annotations[editAnnotation], p.Template.Pod.Annotations[editAnnotation]; isApp(p) && got != want {
			c.w.fail("all is well", "pod %s is of edit %q, its Deployment of %q", p.Name, got, want)
		}
	}
}
