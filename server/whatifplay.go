package server

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/sched/reconcile"
)

// play is the real engine on a copy of the state, with nodes that do at once what they are told.
type play struct {
	state  *fsm.FSM
	tail   *fsm.Tail
	engine *reconcile.Engine
	began  time.Time
	now    time.Time
	before map[types.UID]*api.PodRecord
	// victims have been seen to make room; of those that went at once there is an event.
	victims map[types.UID]bool
	after   bool                            // the changes have been made: what is new from now on is theirs
	lacked  map[corev1.ObjectReference]lack // by what workloads lack pods also without the changes
}

func newPlay(state *fsm.FSM, engine *reconcile.Engine, now time.Time) *play {
	p := &play{state: state, engine: engine, began: now, now: now, before: map[types.UID]*api.PodRecord{}, victims: map[types.UID]bool{}}
	view, tail := state.TailAll(func(*api.Change) bool { return true })
	p.tail = tail
	engine.Load(view)
	return p
}

// run lets the cluster come to rest as it is, then with the changes, and compares.
func (p *play) run(ctx context.Context, list []ops.Op) (*Outlook, error) {
	if _, err := p.settle(ctx); err != nil {
		return nil, err
	}
	for _, r := range p.pods() {
		p.before[r.UID] = r
	}
	p.lacked = p.lacks()
	if err := p.apply(list); err != nil {
		return nil, err
	}
	p.began, p.after = p.now, true
	settled, err := p.settle(ctx)
	if err != nil {
		return nil, err
	}
	return p.outlook(settled), nil
}

func (p *play) pods() (out []*api.PodRecord) {
	p.state.View().Table(reconcile.Pods).AscendPods("", "", func(r *api.PodRecord) bool {
		out = append(out, r)
		return true
	})
	return out
}

// settle steps until nobody has anything to do. It reports whether that was reached.
func (p *play) settle(ctx context.Context) (bool, error) {
	for range outlookRoundsMax {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if err := p.observe(); err != nil {
			return false, err
		}
		list, next := p.engine.Step(p.now)
		asks := p.engine.Asks()
		if len(list)+len(asks) == 0 {
			list = p.work()
		}
		switch {
		case len(list)+len(asks) > 0:
			if err := p.carryOut(list, asks); err != nil {
				return false, err
			}
		case next.IsZero() || next.Sub(p.began) > outlookTimeMax:
			return true, nil
		default:
			p.now = next
		}
	}
	return false, nil
}

func (p *play) observe() error {
	changes, err := p.tail.Take()
	for _, c := range changes {
		p.engine.Observe(c)
	}
	return err
}

// carryOut does what a step wants.
func (p *play) carryOut(list []ops.Op, asks []reconcile.Ask) error {
	if len(list) > 0 {
		if err := p.apply(list); err != nil {
			return err
		}
	}
	for _, a := range asks {
		if err := p.answer(a); err != nil {
			return err
		}
	}
	return nil
}

// apply goes the way of the log, so that the copy never changes an object that it shares.
func (p *play) apply(list []ops.Op) error {
	entry, err := ops.Encode(list)
	if err != nil {
		return err
	}
	for i, result := range p.state.Apply(p.state.Index()+1, entry) {
		for row, outcome := range result.Rows {
			if outcome != ops.Applied {
				p.engine.Failed(list[i], row, outcome)
			}
		}
	}
	return nil
}

// work is what the nodes would do: pods that are new to them become ready, those that are to end have ended.
func (p *play) work() []ops.Op {
	var started []ops.StatusRow
	var ended []ops.DeleteRow
	for _, r := range p.pods() {
		switch {
		case r.Node == "" || r.Terminal():
		case r.Deleting() && len(r.Template.Pod.Finalizers) == 0:
			p.noteVictim(r)
			ended = append(ended, ops.DeleteRow{Namespace: r.Namespace(), Name: r.Name, UID: r.UID})
		case !r.Deleting() && !r.Status.Ready() && p.after && p.before[r.UID] == nil:
			started = append(started, p.started(r))
		}
	}
	var out []ops.Op
	if len(ended) > 0 {
		out = append(out, &ops.DeletePods{Now: p.now.Unix(), Rows: ended})
	}
	if len(started) > 0 {
		out = append(out, &ops.PodStatuses{Rows: started})
	}
	return out
}

func (p *play) noteVictim(r *api.PodRecord) {
	s := r.DecodeStatus()
	if c := api.PodCondition(&s, corev1.DisruptionTarget); c != nil && c.Reason == corev1.PodReasonPreemptionByScheduler {
		p.victims[r.UID] = true
	}
}

func (p *play) started(r *api.PodRecord) ops.StatusRow {
	s := r.DecodeStatus()
	s.Phase = corev1.PodRunning
	api.SetPodCondition(&s, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(p.now)})
	b, err := s.Marshal()
	if err != nil {
		panic("server: a pod status that came from the state does not encode: " + err.Error())
	}
	return ops.StatusRow{Namespace: r.Namespace(), Name: r.Name, UID: r.UID, Status: b}
}

// outlook compares the pods at the end with those before.
func (p *play) outlook(settled bool) *Outlook {
	start, waiting, end, preempt := groups{}, groups{}, groups{}, groups{}
	now := map[types.UID]bool{}
	for _, r := range p.pods() {
		now[r.UID] = !r.Deleting()
		if before := p.before[r.UID]; before != nil && (before.Node != "" || r.Node == "") || r.Deleting() {
			continue
		}
		if r.Node == "" {
			waiting.add(p.groupOf(r, waitsFor(r)))
		} else {
			start.add(p.groupOf(r, ""))
		}
	}
	for uid, r := range p.before {
		switch {
		case now[uid] || r.Deleting() || r.Terminal():
		case p.preempted(r):
			preempt.add(PodGroup{Namespace: r.Namespace(), Workload: "Pod/" + r.Name, Node: r.Node})
		default:
			end.add(p.groupOf(r, ""))
		}
	}
	p.refused(waiting)
	return &Outlook{Start: start.list(), Waiting: waiting.list(), End: end.list(), Preempt: preempt.list(), Settled: settled}
}

func waitsFor(r *api.PodRecord) string {
	s := r.DecodeStatus()
	if c := api.PodCondition(&s, corev1.PodScheduled); c != nil && c.Message != "" {
		return c.Message
	}
	if len(r.Spec().SchedulingGates) > 0 {
		return "it has scheduling gates"
	}
	return "no node was chosen"
}

// groupOf is the pod as one of the workload that people know: of a Deployment's ReplicaSet it is the Deployment.
func (p *play) groupOf(r *api.PodRecord, reason string) PodGroup {
	g := PodGroup{Namespace: r.Namespace(), Workload: "Pod/" + r.Name, Node: r.Node, Reason: reason}
	w := r.Controller()
	if w == nil {
		return g
	}
	g.Workload = p.workload(w.Kind, g.Namespace, w.Name)
	return g
}

// podMakers are the kinds whose objects have pods made for them.
var podMakers = map[string]schema.GroupResource{"ReplicaSet": reconcile.ReplicaSets, "ReplicationController": reconcile.ReplicationControllers,
	"StatefulSet": reconcile.StatefulSets, "DaemonSet": reconcile.DaemonSets, "Job": reconcile.Jobs}

// workload is whatever owns what has pods made for it, or that itself.
func (p *play) workload(kind, ns, name string) string {
	if o, ok := p.state.Get(podMakers[kind], ns, name); ok {
		if m, err := meta.Accessor(o); err == nil {
			if above := metav1.GetControllerOf(m); above != nil {
				return above.Kind + "/" + above.Name
			}
		}
	}
	return kind + "/" + name
}

// preempted says whether the pod made room for others, by its own status or the scheduler's events.
func (p *play) preempted(r *api.PodRecord) (yes bool) {
	if p.victims[r.UID] {
		return true
	}
	p.state.View().Table(reconcile.Events).Ascend(r.Namespace(), r.Name+".", func(ns, _ string, o runtime.Object) bool {
		e := o.(*corev1.Event)
		yes = e.InvolvedObject.UID == r.UID && e.Reason == "Preempted"
		return !yes && ns == r.Namespace() && e.InvolvedObject.Name == r.Name
	})
	return yes
}

// groups counts equal pods.
type groups map[PodGroup]int

func (g groups) add(p PodGroup) { g[p]++ }

func (g groups) list() (out []PodGroup) {
	for p, n := range maps.All(g) {
		p.Pods = n
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b PodGroup) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Workload, b.Workload), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Reason, b.Reason))
	})
	return out
}
