package reconcile

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	schedhelpers "k8s.io/component-helpers/scheduling/corev1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/sched"
)

func priorityOf(p *pod) int32 { return schedhelpers.PodPriority(p.rec.Template.Pod) }

// makeRoom has less important pods go for the pods of a group that fit nowhere, and tells all of them why they wait.
func (e *Engine) makeRoom(left []*pod, reason string, fit sched.Fit) {
	var asking []*pod
	for _, p := range left {
		e.pending.wait(p)
		if e.waitsForVictims(p) {
			e.reserve(p)
			e.tellUnschedulable(p, reason+" preemption: not eligible due to a terminating pod on the nominated node.", false)
			continue
		}
		delete(e.nominated, p.rec.UID)
		asking = append(asking, p)
	}
	if len(asking) == 0 {
		return
	}
	nominations, why := e.preempt(asking, fit, e.newDisruptions())
	withEvents := countVictims(nominations) <= eventsPerStepMax
	for i, p := range asking {
		if nominations[i].Node == "" {
			e.tellUnschedulable(p, strings.TrimSpace(reason+" "+why), len(left) <= eventsPerStepMax)
			continue
		}
		e.nominate(p, nominations[i], withEvents)
		e.tellUnschedulable(p, reason, len(left) <= eventsPerStepMax)
	}
}

// preempt asks the scheduler who would have to go for equal pods.
func (e *Engine) preempt(pods []*pod, fit sched.Fit, d *disruptions) ([]sched.Nomination, string) {
	uids := make([]types.UID, len(pods))
	for i, p := range pods {
		uids[i] = p.rec.UID
	}
	return e.table.Preempt(sched.Preemption{
		Group:     sched.Group{Template: pods[0].rec.Template, UIDs: uids, Fit: fit},
		Residents: func(node string) []sched.Resident { return e.residents(node, d) }, Allowed: d.allowed,
	})
}

// nominate has the victims go and notes where the pod waits for them. Its room in the scheduler's table is its own already, and only promised.
func (e *Engine) nominate(p *pod, n sched.Nomination, withEvents bool) {
	e.nominated[p.rec.UID] = n.Node
	e.reserve(p)
	for _, uid := range n.Victims {
		v := e.podsByUID.get(string(uid))
		e.condemn(v)
		if withEvents {
			e.podEvent(v.ns(), v.name(), uid, corev1.EventTypeNormal, "Preempted", fmt.Sprintf("Preempted by pod %s on node %s", p.rec.UID, n.Node))
		}
		e.doomPod(v, -1)
	}
}

func countVictims(list []sched.Nomination) (n int) {
	for i := range list {
		n += len(list[i].Victims)
	}
	return n
}

// condemn says in a pod's status that it goes for another one.
func (e *Engine) condemn(v *pod) {
	e.condemned[v.rec.UID] = struct{}{}
	s := v.rec.DecodeStatus()
	setPodCondition(&s, corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler,
		Message: corev1.DefaultSchedulerName + ": preempting to accommodate a higher priority pod", LastTransitionTime: metav1.NewTime(e.now),
	})
	e.putPodStatus(v, &s)
}

// condemnLater notes that a condemned pod's status was not written.
func (e *Engine) condemnLater(p *pod) {
	if _, there := e.condemned[p.rec.UID]; there {
		e.pending.unsaid = append(e.pending.unsaid, p)
	}
}

// condemnAgain writes such statuses anew.
func (e *Engine) condemnAgain() {
	for _, p := range e.pending.unsaid {
		if e.podsByUID.get(string(p.rec.UID)) == p && !p.rec.Terminal() {
			e.condemn(p)
		}
	}
	e.pending.unsaid = nil
}

// waitsForVictims says whether pods still go from the node that the pod is nominated for.
func (e *Engine) waitsForVictims(p *pod) bool {
	node := e.nominated[p.rec.UID]
	if node == "" || e.object(Nodes, "", node) == nil {
		return false
	}
	return slices.ContainsFunc(e.podsOn(node), func(v *pod) bool {
		return v.deleting() && !v.rec.Terminal() && priorityOf(v) < priorityOf(p)
	})
}

// reserve keeps room for a nominated pod.
func (e *Engine) reserve(p *pod) {
	e.table.Promise(p.rec.UID, e.nominated[p.rec.UID], p.rec.Template, p.rec.Status)
}

// rememberNomination reads what an earlier leader has decided for the pod.
func (e *Engine) rememberNomination(p *pod) {
	if e.nominated[p.rec.UID] != "" || p.rec.Status == (api.PodRecord{}).Status {
		return
	}
	if node := p.rec.DecodeStatus().NominatedNodeName; node != "" {
		e.nominated[p.rec.UID] = node
		e.reserve(p)
	}
}

func (e *Engine) forgetNomination(p *pod) { delete(e.nominated, p.rec.UID) }

// liftNominations frees the room of all nominated pods. They come back ordered by priority.
func (e *Engine) liftNominations() []*pod {
	out := make([]*pod, 0, len(e.nominated))
	for uid, node := range e.nominated {
		if p := e.podsByUID.get(string(uid)); p != nil && e.object(Nodes, "", node) != nil {
			out = append(out, p)
		} else {
			e.table.RemovePod(uid)
			delete(e.nominated, uid)
		}
	}
	slices.SortFunc(out, comparePending)
	for _, p := range out {
		e.table.RemovePod(p.rec.UID)
	}
	return out
}

// keepRoom keeps the room of nominated pods that matter at least as much as the group g, which is placed next, but not that of its own
// pods. It returns those whose room is still free; all room is kept if g is nil.
func (e *Engine) keepRoom(lifted, g []*pod) []*pod {
	for len(lifted) > 0 && (g == nil || priorityOf(lifted[0]) >= priorityOf(g[0])) {
		if p := lifted[0]; e.nominated[p.rec.UID] != "" {
			e.reserve(p)
		}
		lifted = lifted[1:]
	}
	if len(e.nominated) > 0 {
		for _, p := range g {
			if e.nominated[p.rec.UID] != "" {
				e.table.RemovePod(p.rec.UID)
			}
		}
	}
	return lifted
}

// residents are the pods that are bound to a node.
func (e *Engine) residents(node string, d *disruptions) []sched.Resident {
	on := e.podsOn(node)
	out := make([]sched.Resident, 0, len(on))
	for _, p := range on {
		if !p.rec.Terminal() {
			out = append(out, sched.Resident{UID: p.rec.UID, At: &p.at, Started: p.rec.Created, Leaving: p.deleting(), Budgets: d.of(p)})
		}
	}
	return out
}
