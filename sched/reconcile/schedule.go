package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	schedhelpers "k8s.io/component-helpers/scheduling/corev1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/sched"
)

// pendingPods are pods that want a node: fresh ones are tried in the next step, waiting ones have
// been refused and are tried again when room appears.
type pendingPods struct {
	fresh, waiting map[types.UID]*pod
}

func newPendingPods() pendingPods {
	return pendingPods{fresh: map[types.UID]*pod{}, waiting: map[types.UID]*pod{}}
}

func (q *pendingPods) drop(uid types.UID) {
	delete(q.fresh, uid)
	delete(q.waiting, uid)
}

// ours says whether this scheduler is asked for.
func ours(spec *corev1.PodSpec) bool {
	return spec.SchedulerName == "" || spec.SchedulerName == corev1.DefaultSchedulerName
}

// pendingChanged files a pod that wants a node, or unfiles it.
func (e *Engine) pendingChanged(p *pod) {
	spec := p.rec.Spec()
	if p.rec.Node != "" || p.deleting() || p.rec.Terminal() || !ours(spec) || len(spec.SchedulingGates) > 0 {
		e.pending.drop(p.rec.UID)
		return
	}
	if e.pending.waiting[p.rec.UID] == nil {
		e.pending.fresh[p.rec.UID] = p
	}
}

// schedule places what is pending, equal pods together, the more important first.
func (e *Engine) schedule() {
	if e.roomFreed {
		for uid, p := range e.pending.waiting {
			e.pending.fresh[uid] = p
		}
		clear(e.pending.waiting)
	}
	e.roomFreed = false
	groups := groupPending(e.pending.fresh)
	clear(e.pending.fresh)
	for _, g := range groups {
		if !usesClaims(g[0].rec.Spec()) {
			e.placeGroup(g)
			continue
		}
		for _, p := range g { // each placement may take a volume away from the next
			e.placeUser(p)
		}
	}
}

// groupPending makes groups of equal pods, ordered by priority, age and name of their first pod.
func groupPending(pods map[types.UID]*pod) [][]*pod {
	if len(pods) == 0 {
		return nil
	}
	list := make([]*pod, 0, len(pods))
	for _, p := range pods {
		if p.doom == stays {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, comparePending)
	at := map[*api.PodTemplate]int{}
	var out [][]*pod
	for _, p := range list {
		i, ok := at[p.rec.Template]
		if !ok {
			i = len(out)
			at[p.rec.Template] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], p)
	}
	return out
}

func comparePending(a, b *pod) int {
	return cmp.Or(
		-cmp.Compare(schedhelpers.PodPriority(a.rec.Template.Pod), schedhelpers.PodPriority(b.rec.Template.Pod)),
		cmp.Compare(a.rec.Created, b.rec.Created),
		strings.Compare(a.ns(), b.ns()), strings.Compare(a.name(), b.name()))
}

func (e *Engine) placeGroup(g []*pod) {
	if node, pinned := api.PinnedTo(g[0].rec.Spec()); pinned && node != "" {
		for _, p := range g {
			e.settlePlaced([]*pod{p}, e.table.PlaceOn(p.rec.Template, p.rec.UID, node))
		}
		return
	}
	uids := make([]types.UID, len(g))
	for i, p := range g {
		uids[i] = p.rec.UID
	}
	e.settlePlaced(g, e.table.Place(sched.Group{Template: g[0].rec.Template, UIDs: uids}))
}

// settlePlaced binds the pods that have a node and tells the others why they have none.
func (e *Engine) settlePlaced(g []*pod, d sched.Decision) {
	for i, p := range g {
		if d.Nodes[i] != "" {
			e.bindPod(p, d.Nodes[i])
			if d.Placed <= eventsPerStepMax {
				e.podEvent(p.ns(), p.name(), p.rec.UID, corev1.EventTypeNormal, "Scheduled",
					fmt.Sprintf("Successfully assigned %s/%s to %s", p.ns(), p.name(), d.Nodes[i]))
			}
			continue
		}
		e.pending.waiting[p.rec.UID] = p
		e.tellUnschedulable(p, d.Reason, len(g)-d.Placed <= eventsPerStepMax)
	}
}

// tellUnschedulable writes the reason into the pod's condition, if it is another one than before.
func (e *Engine) tellUnschedulable(p *pod, reason string, withEvent bool) {
	s := p.rec.DecodeStatus()
	if c := podCondition(&s, corev1.PodScheduled); p.told == reason ||
		c != nil && c.Status == corev1.ConditionFalse && c.Message == reason {
		p.told = reason
		return
	}
	setPodCondition(&s, corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
		Message: reason, LastTransitionTime: metav1.NewTime(e.now),
	})
	e.putPodStatus(p, &s)
	p.told = reason
	if withEvent {
		e.podEvent(p.ns(), p.name(), p.rec.UID, corev1.EventTypeWarning, "FailedScheduling", reason)
	}
}

// putPodStatus writes a status based on the observed one.
func (e *Engine) putPodStatus(p *pod, s *corev1.PodStatus) {
	b, err := s.Marshal()
	if err != nil {
		panic("reconcile: a pod status that came from the store does not encode: " + err.Error())
	}
	e.statuses = append(e.statuses, ops.StatusRow{Namespace: p.ns(), Name: p.name(), UID: p.rec.UID, Expect: p.rec.Revision, Status: b})
}

func podCondition(s *corev1.PodStatus, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			return &s.Conditions[i]
		}
	}
	return nil
}

// setPodCondition replaces the condition of its type; the transition time stays while the status does.
func setPodCondition(s *corev1.PodStatus, c corev1.PodCondition) {
	old := podCondition(s, c.Type)
	if old == nil {
		s.Conditions = append(s.Conditions, c)
		return
	}
	if old.Status == c.Status {
		c.LastTransitionTime = old.LastTransitionTime
	}
	*old = c
}

func (e *Engine) failedBind(row *ops.BindRow) {
	e.table.RemovePod(row.UID)
	if p := e.podByUID(row.Namespace, row.Name, row.UID); p != nil {
		e.accountPod(p)
		e.pendingChanged(p)
	}
}

func (e *Engine) failedStatus(row *ops.StatusRow) {
	p := e.podByUID(row.Namespace, row.Name, row.UID)
	if p == nil {
		return
	}
	p.told = ""
	e.pending.drop(row.UID)
	e.pendingChanged(p)
	if p.rec.Node != "" {
		e.retry(key{area: areaNode, name: p.rec.Node}, e.now)
	}
}
