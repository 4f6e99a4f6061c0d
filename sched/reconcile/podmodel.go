package reconcile

import (
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// observePod takes in a pod's new record; nil means that it is gone.
func (e *Engine) observePod(ns, name string, rec *api.PodRecord) {
	e.markQuotas(ref{Pods, ns, name})
	p := e.pod(ns, name)
	if p != nil && (rec == nil || rec.UID != p.rec.UID) {
		e.unindexPod(p)
		e.podGone(p)
		p = nil
	}
	switch {
	case rec == nil:
	case p == nil:
		p = &pod{rec: rec}
		e.indexPod(p)
	case p.rec.Template != rec.Template || p.rec.Node != rec.Node:
		e.unindexPod(p)
		e.setRecord(p, rec)
		e.indexPod(p)
	default:
		e.changePod(p, rec)
	}
}

func (e *Engine) setRecord(p *pod, rec *api.PodRecord) {
	p.rec = rec
	if rec.Deleting() {
		p.doom = stays
	}
}

// indexPod adds the pod to every index and marks everyone it concerns.
func (e *Engine) indexPod(p *pod) {
	e.podsByUID.put(p)
	e.space(p.ns()).pods.put(p)
	e.indexRest(p)
}

// indexRest adds the pod to every index but those by UID and by name.
func (e *Engine) indexRest(p *pod) {
	rec := p.rec
	e.indexOwners(p)
	if rec.Node != "" {
		on := e.onNode[rec.Node]
		if on == nil {
			on = &herd{}
			e.onNode[rec.Node] = on
		}
		on.add(p, seatNode)
		if !e.loading {
			e.podOnNode(p)
		}
		e.neighboursChanged()
	}
	e.indexUser(p)
	e.indexMember(p)
	e.accountPod(p)
	e.recount(p)
	e.pendingChanged(p)
	e.noteEnded(p)
	e.noticedPod(p)
}

func (e *Engine) indexOwners(p *pod) {
	for seat, uid := range p.owners {
		f := e.flock(uid)
		f.pods.add(p, seat)
		if f.known {
			continue
		}
		if _, there := e.exists(uid); !there {
			e.markItem(ref{Pods, p.ns(), p.name()})
		}
	}
	if metav1.GetControllerOfNoCopy(p.rec.Template.Pod) == nil {
		e.space(p.ns()).orphans[p.rec.UID] = p
		e.orphanAppeared(p)
	}
}

// unindexPod is the reverse of indexPod.
func (e *Engine) unindexPod(p *pod) {
	e.count(p, tally{})
	for seat, uid := range p.owners {
		if f := e.flocks[uid]; f != nil {
			f.pods.drop(p, seat)
			e.flockChanged(f)
			if len(f.pods) == 0 && !f.known {
				e.dropFlock(f)
			}
		}
	}
	e.podsByUID.drop(string(p.rec.UID))
	delete(e.ended, p.rec.UID)
	delete(e.sentenced, p.rec.UID)
	s := e.space(p.ns())
	s.pods.drop(p.name())
	delete(s.orphans, p.rec.UID)
	if on := e.onNode[p.rec.Node]; on != nil {
		on.drop(p, seatNode)
		if len(*on) == 0 {
			delete(e.onNode, p.rec.Node)
		}
	}
	e.unindexUser(p)
	e.unindexMember(p)
	e.pending.drop(p.rec.UID)
	e.noticedPod(p)
}

// podGone gives back what the pod took.
func (e *Engine) podGone(p *pod) {
	e.freeRoom(p)
	e.leaveGang(p)
	delete(e.pending.told, p.rec.UID)
	delete(e.nominated, p.rec.UID)
	delete(e.condemned, p.rec.UID)
	e.ownerGone(p.rec.UID)
	e.nameFreed(p)
}

// changePod is the cheap way, for changes of what is the pod's own: status and deletion.
func (e *Engine) changePod(p *pod, rec *api.PodRecord) {
	old := p.rec
	e.setRecord(p, rec)
	e.noteEnded(p)
	e.accountPod(p)
	e.recount(p)
	if old.Status.Ready() != rec.Status.Ready() || !old.Status.SamePodIP(rec.Status) || old.Deleting() != rec.Deleting() || old.Terminal() != rec.Terminal() {
		e.memberChanged(p)
		e.flocksOf(p, e.flockChanged)
	}
	if old.Deleting() != rec.Deleting() || old.Terminal() != rec.Terminal() || old.Generation != rec.Generation {
		e.pendingChanged(p)
	}
	if old.Terminal() != rec.Terminal() {
		e.userEnded(p)
	}
	if p.rec.Spec().RestartPolicy == corev1.RestartPolicyOnFailure { // a job counts how often its containers start again
		e.flocksOf(p, e.flockChanged)
	}
	if old.Deleting() != rec.Deleting() || old.Phase() != rec.Phase() {
		e.noticedPod(p)
	}
	if old.Deleting() != rec.Deleting() || old.DeletionGrace != rec.DeletionGrace {
		p.eachClaim(func(k types.NamespacedName, _ *corev1.Volume) { e.markClaimProtection(k) })
	}
}

// accountPod keeps the scheduler's table right: a pod takes room from its binding to its end.
func (e *Engine) accountPod(p *pod) {
	e.countInGang(p)
	if p.rec.Node != "" && !p.rec.Terminal() {
		delete(e.pending.told, p.rec.UID)
		e.table.Keep(&p.at, p.rec.UID)
		if e.table.AddKept(&p.at, p.rec.Node, p.rec.Template, p.rec.Status) {
			e.roomFreed = true
		}
		e.countLeaving(p)
		return
	}
	if e.nominated[p.rec.UID] != "" && p.rec.Node == "" && !p.deleting() && !p.rec.Terminal() {
		return // its room is kept
	}
	e.freeRoom(p)
}

// countLeaving tells the scheduler's table of a pod that goes, from the moment when that was decided: nothing is spread from it, also not
// what takes its place in the same step.
func (e *Engine) countLeaving(p *pod) {
	if p.deleting() && e.table.LeavingKept(&p.at) {
		e.neighboursChanged()
	}
}

// roomOn is the node on which the scheduler's table has room for the pod: since it is bound, or because that was decided. "" is nowhere.
func (e *Engine) roomOn(p *pod) string {
	if node := e.table.NodeOfKept(&p.at); node != "" {
		return node
	}
	return e.table.NodeOf(p.rec.UID)
}

func (e *Engine) freeRoom(p *pod) {
	if e.roomOn(p) != "" {
		e.table.RemoveKept(&p.at)
		e.table.RemovePod(p.rec.UID)
		e.roomFreed = true
	}
}

// noticedPod marks the namespace, the garbage collector and the node where they wait for pods.
func (e *Engine) noticedPod(p *pod) {
	if tracks(p) {
		e.mark(trackedKey(p))
	}
	if p.rec.Deleting() && len(p.rec.Template.Pod.Finalizers) > 0 {
		e.mark(uidKey(p.rec.UID))
	}
	if e.loading {
		return
	}
	if e.terminating(p.ns()) {
		e.mark(key{area: areaNamespace, name: p.ns()})
	}
	for i := range p.rec.Template.Pod.OwnerReferences {
		e.dependentChanged(p.rec.Template.Pod.OwnerReferences[i].UID)
	}
}

// flocksOf calls fn for the flock of every owner of the pod.
func (e *Engine) flocksOf(p *pod, fn func(*flock)) {
	owners := p.rec.Template.Pod.OwnerReferences
	for i := range owners {
		if f := e.flocks[owners[i].UID]; f != nil {
			fn(f)
		}
	}
}

// tallyOf says how the pod counts for its controller now.
func (e *Engine) tallyOf(p *pod, f *flock) tally {
	t := tally{controlled: true}
	if p.rec.Terminal() {
		return t
	}
	if p.deleting() {
		t.terminating = p.doom != gone
		return t
	}
	if f.known && !f.selector.Matches(labels.Set(p.rec.Labels())) {
		t.stray = true
		return t
	}
	t.active = true
	t.ready = e.ready(p)
	t.labeled = f.known && includes(p.rec.Labels(), f.templateLabels)
	return t
}

// ready says whether the pod counts as ready: it says so itself and its node lives.
func (e *Engine) ready(p *pod) bool { return p.rec.Status.Ready() && !e.nodeDown(p.rec.Node) }

func includes(all, some map[string]string) bool {
	for k, v := range some {
		if w, ok := all[k]; !ok || v != w {
			return false
		}
	}
	return true
}

// recount brings the pod's share of its controller's counters up to date.
func (e *Engine) recount(p *pod) {
	w := controllerOf(p.rec.Template.Pod)
	if w == nil {
		return
	}
	e.count(p, e.tallyOf(p, e.flock(w.UID)))
}

func (e *Engine) count(p *pod, t tally) {
	if t == p.counted {
		return
	}
	w := controllerOf(p.rec.Template.Pod)
	if w == nil {
		return
	}
	f := e.flock(w.UID)
	move := func(n *int, was, is bool) {
		if was != is {
			if is {
				*n++
			} else {
				*n--
			}
		}
	}
	move(&f.active, p.counted.active, t.active)
	move(&f.ready, p.counted.ready, t.ready)
	move(&f.terminating, p.counted.terminating, t.terminating)
	move(&f.labeled, p.counted.labeled, t.labeled)
	move(&f.strays, p.counted.stray, t.stray)
	e.countBerth(f, p, t)
	p.counted = t
	e.flockChanged(f)
}

// flockChanged marks the workload and what stands above it.
func (e *Engine) flockChanged(f *flock) {
	if !f.known || e.loading || f.marked == e.taken {
		return
	}
	if o := e.objects[f.owner]; o != nil {
		e.markObject(o)
		f.marked = e.taken
	}
}

// noticedWorkload tells the flock what its owner selects.
func (e *Engine) noticedWorkload(old, o *object) {
	if o == nil {
		delete(e.patches, old.meta.GetUID())
		if f := e.flocks[old.meta.GetUID()]; f != nil {
			f.known, f.selector = false, nil
			for _, p := range f.pods {
				if tracks(p) {
					e.mark(trackedKey(p))
				}
			}
			if len(f.pods) == 0 {
				e.dropFlock(f)
			}
		}
		return
	}
	var selector *metav1.LabelSelector
	var template map[string]string
	switch w := o.obj.(type) {
	case *appsv1.ReplicaSet:
		selector, template = w.Spec.Selector, w.Spec.Template.Labels
	case *corev1.ReplicationController:
		rs := asReplicaSet(w)
		selector, template = rs.Spec.Selector, rs.Spec.Template.Labels
	case *appsv1.StatefulSet:
		selector, template = w.Spec.Selector, w.Spec.Template.Labels
	case *appsv1.DaemonSet:
		selector, template = w.Spec.Selector, w.Spec.Template.Labels
	case *batchv1.Job:
		selector, template = w.Spec.Selector, w.Spec.Template.Labels
		if selector == nil {
			selector = &metav1.LabelSelector{MatchLabels: map[string]string{batchv1.ControllerUidLabel: string(w.UID)}}
		}
	}
	f, chosen := e.flock(o.meta.GetUID()), selectorOf(selector)
	if f.known && includes(f.templateLabels, template) && includes(template, f.templateLabels) && f.selector.String() == chosen.String() {
		return
	}
	f.known, f.owner, f.templateLabels, f.selector, f.marked = true, o.ref, template, chosen, 0
	for _, p := range f.pods {
		if w := controllerOf(p.rec.Template.Pod); w != nil && w.UID == f.uid {
			e.recount(p)
		}
	}
}

// selectorOf compiles a selector; one that is absent, empty or broken selects nothing.
func selectorOf(s *metav1.LabelSelector) labels.Selector {
	if s != nil && len(s.MatchLabels) > 0 && len(s.MatchExpressions) == 0 {
		return labels.Set(s.MatchLabels).AsSelectorPreValidated() // as most are; the API has validated it, by regular expressions
	}
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil || s == nil || sel.Empty() {
		return labels.Nothing()
	}
	return sel
}

// orphanAppeared marks the workloads that would adopt the pod.
func (e *Engine) orphanAppeared(p *pod) {
	s := e.space(p.ns())
	for gr, a := range workloadAreas {
		for name, o := range s.objects[gr] {
			if f := e.flocks[o.meta.GetUID()]; f != nil && f.known && f.selector.Matches(labels.Set(p.rec.Labels())) {
				e.mark(key{area: a, ns: o.ns, name: name})
			}
		}
	}
}

// workloadAreas are the kinds that control pods, and who looks after them.
var workloadAreas = map[schema.GroupResource]area{ReplicaSets: areaReplicaSet, ReplicationControllers: areaReplicationController, Jobs: areaJob,
	StatefulSets: areaStatefulSet, DaemonSets: areaDaemonSet}

// overdue says whether only finalizers keep a pod that is being deleted: to delete it once more changes nothing, and nobody would hear
// of it.
func (e *Engine) overdue(p *pod) bool {
	return len(p.rec.Template.Pod.Finalizers) > 0 && (p.rec.DeletionGrace == 0 || p.rec.DeletionTime <= e.now.Unix())
}

// doomPod decides that the pod is deleted. grace -1 is the pod's own.
func (e *Engine) doomPod(p *pod, grace int64) {
	if p.doom == gone || p.doom == leaving && grace != 0 || p.rec.Deleting() && (grace != 0 || e.overdue(p)) {
		return
	}
	if e.written[ref{Pods, p.ns(), p.name()}] {
		return
	}
	p.doom = leaving
	if p.rec.Node == "" || p.rec.Terminal() || grace == 0 {
		p.doom = gone
	}
	e.deletePod(ops.DeleteRow{Namespace: p.ns(), Name: p.name(), UID: p.rec.UID, Grace: grace})
	e.countLeaving(p)
	e.recount(p)
	e.memberChanged(p)
}

func (e *Engine) failedDelete(row *ops.DeleteRow) {
	p := e.podByUID(row.Namespace, row.Name, row.UID)
	if p == nil {
		return
	}
	e.failedPodPut(ref{Pods, row.Namespace, row.Name})
}

// failedPodPut lets everyone who decides about pods look at this one again.
func (e *Engine) failedPodPut(r ref) {
	p := e.pod(r.ns, r.name)
	if p == nil {
		return
	}
	if p.doom != stays {
		p.doom = stays
		if !p.rec.Deleting() {
			e.table.StaysKept(&p.at)
		}
		e.recount(p)
		e.memberChanged(p)
	}
	e.retry(key{area: areaItem, resource: r.gr.String(), ns: r.ns, name: r.name}, e.now)
	if tracks(p) {
		e.retry(trackedKey(p), e.now)
	}
	if p.rec.Node == "" { // it may have been a binding
		e.table.RemovePod(p.rec.UID)
		e.accountPod(p)
		e.pendingChanged(p)
	}
	if p.rec.Node != "" {
		e.retry(key{area: areaNode, name: p.rec.Node}, e.now)
		e.retry(key{area: areaEviction, ns: r.ns, name: r.name}, e.now)
	}
	if e.terminating(r.ns) {
		e.retry(key{area: areaNamespace, name: r.ns}, e.now)
	}
	e.flocksOf(p, func(f *flock) {
		e.retryFlock(f)
		e.retryBerth(f, p)
	})
	e.orphanAppeared(p)
	e.retryGarbage(r, p.rec.Template.Pod)
}

// retryFlock marks the workload of a failed pod op.
func (e *Engine) retryFlock(f *flock) {
	if !f.known {
		return
	}
	e.retry(key{area: workloadAreas[f.owner.gr], ns: f.owner.ns, name: f.owner.name}, e.now)
}

func (e *Engine) failedPlan(op *ops.PlanPods) {
	if w := controllerOf(op.Template); w != nil {
		e.failedDaemon(w.UID)
		if f := e.flocks[w.UID]; f != nil {
			e.retryFlock(f)
		}
	}
}
