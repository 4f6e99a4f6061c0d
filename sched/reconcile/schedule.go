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
	told           map[types.UID]string // the last reason written into condition PodScheduled of those that have no node
	unsaid         []*pod               // condemned, but their status does not say so
	wishful        bool                 // one that waits cares where other pods are
}

func newPendingPods() pendingPods {
	return pendingPods{fresh: map[types.UID]*pod{}, waiting: map[types.UID]*pod{}, told: map[types.UID]string{}}
}

func (q *pendingPods) drop(uid types.UID) {
	delete(q.fresh, uid)
	delete(q.waiting, uid)
}

// ours says whether this scheduler is asked for.
func ours(spec *corev1.PodSpec) bool {
	return spec.SchedulerName == "" || spec.SchedulerName == corev1.DefaultSchedulerName
}

// wait files a pod that was refused.
func (q *pendingPods) wait(p *pod) {
	q.waiting[p.rec.UID] = p
	spec := p.rec.Spec()
	if a := spec.Affinity; len(spec.TopologySpreadConstraints) > 0 || a != nil && (a.PodAffinity != nil || a.PodAntiAffinity != nil) {
		q.wishful = true
	}
}

// neighboursChanged lets pods be tried again that care where others are.
func (e *Engine) neighboursChanged() {
	if e.pending.wishful {
		e.roomFreed = true
	}
}

// noticedSpace tells the scheduler the labels of a namespace.
func (e *Engine) noticedSpace(o *object, name string) {
	var labels map[string]string
	if o != nil {
		labels = o.meta.GetLabels()
	}
	if e.table.SetNamespace(name, labels) {
		e.roomFreed = true
	}
}

// pendingChanged files a pod that wants a node, or unfiles it.
func (e *Engine) pendingChanged(p *pod) {
	spec := p.rec.Spec()
	if p.rec.Node != "" || p.deleting() || p.rec.Terminal() || !ours(spec) || len(spec.SchedulingGates) > 0 {
		e.pending.drop(p.rec.UID)
		e.forgetNomination(p)
		return
	}
	e.rememberNomination(p)
	if e.pending.waiting[p.rec.UID] == nil {
		e.pending.fresh[p.rec.UID] = p
	}
}

// schedule places what is pending, equal pods together, the more important first. Room that is kept for nominated pods is free for
// whatever matters more.
func (e *Engine) schedule() {
	if e.roomFreed {
		for uid, p := range e.pending.waiting {
			e.pending.fresh[uid] = p
		}
		clear(e.pending.waiting)
		e.pending.wishful = false
	}
	e.roomFreed = false
	e.gatherGangs()
	e.condemnAgain()
	groups := e.groupPending(e.pending.fresh)
	clear(e.pending.fresh)
	if len(groups) == 0 {
		return
	}
	kept := e.liftNominations()
	for _, g := range groups {
		kept = e.keepRoom(kept, g)
		e.placePending(g)
		e.breathe()
	}
	e.keepRoom(kept, nil)
}

// placePending places a group: a gang whole or not at all, pods with claims one by one, since each placement may take a volume away
// from the next.
func (e *Engine) placePending(g []*pod) {
	switch {
	case gangOf(g[0].rec.Template.Pod) != "":
		e.placeGang(g)
	case !usesClaims(g[0].rec.Spec()):
		e.placeGroup(g)
	default:
		for _, p := range g {
			e.placeUser(p)
		}
	}
}

// groupPending makes groups of equal pods, and of the pods of a gang, ordered by priority, age and name of their first pod.
func (e *Engine) groupPending(pods map[types.UID]*pod) [][]*pod {
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
	type family struct {
		template *api.PodTemplate
		gang     string
	}
	at := map[family]int{}
	var out [][]*pod
	for _, p := range list {
		f := family{template: p.rec.Template}
		if gang := gangOf(p.rec.Template.Pod); gang != "" {
			f = family{gang: p.ns() + "/" + gang}
		}
		i, ok := at[f]
		if !ok {
			i = len(out)
			at[f] = i
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
			e.settlePlaced([]*pod{p}, e.table.PlaceOn(p.rec.Template, p.rec.UID, node), nil)
		}
		return
	}
	uids := make([]types.UID, len(g))
	for i, p := range g {
		uids[i] = p.rec.UID
	}
	e.settlePlaced(g, e.table.Place(sched.Group{Template: g[0].rec.Template, UIDs: uids}), nil)
}

// settlePlaced binds the pods that have a node, makes room for the others if it can, and tells them why they have none.
func (e *Engine) settlePlaced(g []*pod, d sched.Decision, fit sched.Fit) {
	var left []*pod
	withEvents := e.mayTell(d.Placed, 1)
	for i, p := range g {
		if d.Nodes[i] == "" {
			left = append(left, p)
			continue
		}
		e.bindPlaced(p, d.Nodes[i], withEvents)
	}
	if len(left) > 0 {
		e.makeRoom(left, d.Reason, fit)
	}
}

func (e *Engine) bindPlaced(p *pod, node string, withEvent bool) {
	delete(e.nominated, p.rec.UID)
	e.bindPod(p, node)
	if withEvent {
		e.podEvent(p.ns(), p.name(), p.rec.UID, corev1.EventTypeNormal, "Scheduled",
			fmt.Sprintf("Successfully assigned %s/%s to %s", p.ns(), p.name(), node))
	}
}

// tellUnschedulable writes the reason, and the node that the pod waits for, into the pod's status, if that says anything else.
func (e *Engine) tellUnschedulable(p *pod, reason string, withEvent bool) {
	node := e.nominated[p.rec.UID]
	if e.pending.told[p.rec.UID] == reason+node {
		return
	}
	s := p.rec.DecodeStatus()
	c := podCondition(&s, corev1.PodScheduled)
	same := c != nil && c.Status == corev1.ConditionFalse && c.Message == reason
	e.pending.told[p.rec.UID] = reason + node
	if same && s.NominatedNodeName == node {
		return
	}
	s.NominatedNodeName = node
	setPodCondition(&s, corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
		Message: reason, LastTransitionTime: metav1.NewTime(e.now),
	})
	e.putPodStatus(p, &s)
	if withEvent && !same {
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
	e.condemnLater(p)
	delete(e.pending.told, p.rec.UID)
	e.pending.drop(row.UID)
	e.pendingChanged(p)
	if p.rec.Node != "" {
		e.retry(key{area: areaNode, name: p.rec.Node}, e.now)
	}
}
