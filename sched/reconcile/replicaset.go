package reconcile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/sched"
)

// syncReplicaSet makes the number of pods right; once it is, it reports.
func (e *Engine) syncReplicaSet(k key) {
	o := e.object(ReplicaSets, k.ns, k.name)
	if o == nil || e.written[o.ref] {
		return // a written one comes back when the write is observed
	}
	rs := o.obj.(*appsv1.ReplicaSet)
	f := e.flock(rs.UID)
	delete(e.refused, o.ref)
	if rs.DeletionTimestamp == nil && !e.terminating(rs.Namespace) {
		w := workload{ref: o.ref, obj: rs, gvk: appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), component: "replicaset-controller"}
		if e.adopt(w, f) || e.release(f) || e.scalePods(w, f, rs) {
			return
		}
	}
	e.reportReplicaSet(o, rs, f)
}

// workload is an object that controls pods.
type workload struct {
	ref
	obj interface {
		runtime.Object
		metav1.Object
	}
	gvk schema.GroupVersionKind
	// component signs events.
	component string
	// prefix begins the names of pods; "" is the name of the workload and a dash.
	prefix string
}

// adopt takes the orphans that the selector matches. It reports whether it did anything.
func (e *Engine) adopt(w workload, f *flock) (acted bool) {
	return e.adoptIf(w, f, func(*pod) bool { return true })
}

// adoptIf takes those of the orphans that the workload can do with.
func (e *Engine) adoptIf(w workload, f *flock, fits func(*pod) bool) (acted bool) {
	s := e.spaces[w.ns]
	if s == nil || len(s.orphans) == 0 || !f.known {
		return false
	}
	for _, p := range podsByName(maps.Values(s.orphans)) {
		if p.deleting() || p.rec.Terminal() || !f.selector.Matches(labels.Set(p.rec.Labels())) || !fits(p) {
			continue
		}
		acted = e.ownPod(p, append(slices.Clone(p.rec.Template.Pod.OwnerReferences), *metav1.NewControllerRef(w.obj, w.gvk))) || acted
	}
	return acted
}

// release lets go of pods whose labels the selector no longer matches.
func (e *Engine) release(f *flock) (acted bool) {
	if f.strays == 0 {
		return false
	}
	for _, p := range podsByName(slices.Values(f.pods)) {
		if p.counted.stray {
			owners := slices.DeleteFunc(slices.Clone(p.rec.Template.Pod.OwnerReferences), func(o metav1.OwnerReference) bool { return o.UID == f.uid })
			acted = e.ownPod(p, owners) || acted
		}
	}
	return acted
}

// ownPod writes the pod with other owners.
func (e *Engine) ownPod(p *pod, owners []metav1.OwnerReference) bool {
	if e.written[ref{Pods, p.ns(), p.name()}] || p.doom != stays {
		return false
	}
	np := p.rec.Pod()
	np.OwnerReferences = owners
	switch w := controllerOf(np); {
	case w == nil || w.Kind != jobKind.Kind:
		np.Finalizers = withoutTracking(np.Finalizers)
	case !p.rec.Terminal() && !p.rec.Deleting(): // one that has ended is counted already, or will be
		np.Finalizers = withTracking(np.Finalizers)
	}
	e.put(Pods, np, p.rec.Revision)
	return true
}

// scalePods creates or deletes what the replica count asks for.
func (e *Engine) scalePods(w workload, f *flock, rs *appsv1.ReplicaSet) bool {
	switch diff := int(replicas(rs.Spec.Replicas)) - f.active; {
	case diff > 0:
		return e.createPods(w, &rs.Spec.Template, diff)
	case diff < 0:
		e.deleteSurplus(w, f, -diff)
		return true
	}
	return false
}

func replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

// createPods plans n new pods, placed already where a node will take them.
func (e *Engine) createPods(w workload, t *corev1.PodTemplateSpec, n int) bool {
	made, ok := e.planPods(w, t, n)
	e.saidCreated(w, made)
	return ok
}

// madePod is a pod that was planned.
type madePod struct {
	name, node string
	uid        types.UID
}

func (e *Engine) planPods(w workload, t *corev1.PodTemplateSpec, n int) (made []madePod, ok bool) {
	p := e.podOf(w, t)
	if !e.prepare(w, p) {
		return nil, false
	}
	template, err := api.NewPodTemplate(p)
	if err != nil {
		e.event(w.obj, w.gvk, corev1.EventTypeWarning, "FailedCreate", w.component, "Error creating: "+err.Error())
		return nil, false
	}
	rows := e.newRows(w.ns, template.Pod.GenerateName, n)
	e.placeRows(template, rows)
	for _, g := range e.byPlace(template.Pod, rows) {
		for _, part := range chunks(g.rows, planRowsMax) {
			e.plans = append(e.plans, &ops.PlanPods{Template: g.pod, Created: e.now.Unix(), Rows: part})
		}
	}
	for _, r := range rows {
		made = append(made, madePod{template.Pod.GenerateName + r.Suffix, r.Node, r.UID})
	}
	return made, true
}

// newRows names n pods with names that are free.
func (e *Engine) newRows(ns, prefix string, n int) []ops.PlanRow {
	rows := make([]ops.PlanRow, 0, n)
	taken := make(map[string]struct{}, n)
	for len(rows) < n {
		s := e.names.suffix()
		if _, twice := taken[s]; twice || e.pod(ns, prefix+s) != nil {
			continue
		}
		taken[s] = struct{}{}
		rows = append(rows, ops.PlanRow{Suffix: s, UID: e.names.uid()})
	}
	return rows
}

// placeRows fills in the nodes; rows that fit nowhere keep none, and are told why once they exist.
func (e *Engine) placeRows(template *api.PodTemplate, rows []ops.PlanRow) {
	// Where claims allow a pod to go is found out once it exists, and whether its gang has a place.
	if !ours(&template.Pod.Spec) || len(template.Pod.Spec.SchedulingGates) > 0 || usesClaims(&template.Pod.Spec) || gangOf(template.Pod) != "" {
		return
	}
	uids := make([]types.UID, len(rows))
	for i := range rows {
		uids[i] = rows[i].UID
	}
	for i, node := range e.table.Place(sched.Group{Template: template, UIDs: uids}).Nodes {
		rows[i].Node = node
	}
}

// podOf is the pod that a workload's template describes.
func (e *Engine) podOf(w workload, t *corev1.PodTemplateSpec) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName:    podPrefix(w),
			Namespace:       w.ns,
			Labels:          t.Labels,
			Annotations:     t.Annotations,
			Finalizers:      t.Finalizers,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(w.obj, w.gvk)},
		},
		Spec: t.Spec,
	}
}

// podPrefix is what the names of the workload's pods begin with.
func podPrefix(w workload) string {
	prefix := cmp.Or(w.prefix, w.name+"-")
	return prefix[:min(len(prefix), generatedPrefixMax)]
}

// prepare does to a pod what admission would have done. Without its account it must wait; the account's coming marks the workload, as
// does a change of what admission reads if it has refused the pod.
func (e *Engine) prepare(w workload, p *corev1.Pod) bool {
	why, ok := e.admit(w, p)
	if why != "" {
		e.refuse(w, why)
	}
	return ok
}

// admit is prepare without a word to the user: why says what is wrong if that is for the user to know.
func (e *Engine) admit(w workload, p *corev1.Pod) (why string, ok bool) {
	name := cmp.Or(p.Spec.ServiceAccountName, p.Spec.DeprecatedServiceAccount, defaultAccount)
	if e.cfg.PreparePod == nil {
		p.Spec.ServiceAccountName, p.Spec.DeprecatedServiceAccount = name, name
		return e.ask(w, p)
	}
	o := e.object(Accounts, w.ns, name)
	if o == nil {
		if name != defaultAccount { // which is about to be made
			why = fmt.Sprintf("pods %q is forbidden: error looking up service account %s/%s: serviceaccount %q not found",
				cmp.Or(p.Name, p.GenerateName), w.ns, name, name)
		}
		return why, false
	}
	*p = *p.DeepCopy() // the template is the owner's
	if err := e.cfg.PreparePod(p, o.obj.(*corev1.ServiceAccount), Facts{&e.model}); err != nil {
		return err.Error(), false
	}
	return e.ask(w, p)
}

// saidCreated writes the events of a batch: two a pod for few, one in all for many, and none in a burst where a Deployment has said so much.
func (e *Engine) saidCreated(w workload, made []madePod) {
	if e.asked[w.ref] {
		return // see Answered
	}
	single := e.mayTell(len(made), 2)
	if !single && len(made) != 1 {
		if len(made) > eventsPerStepMax || !firstPods(w, len(made)) {
			e.event(w.obj, w.gvk, corev1.EventTypeNormal, "SuccessfulCreate", w.component, fmt.Sprintf("Created %d pods", len(made)))
		}
		return
	}
	for _, p := range made {
		e.event(w.obj, w.gvk, corev1.EventTypeNormal, "SuccessfulCreate", w.component, "Created pod: "+p.name)
		if single && p.node != "" {
			e.podEvent(w.ns, p.name, p.uid, corev1.EventTypeNormal, "Scheduled",
				fmt.Sprintf("Successfully assigned %s/%s to %s", w.ns, p.name, p.node))
		}
	}
}

// firstPods says whether n pods are all of a ReplicaSet that its Deployment has just made, of which an event of the Deployment tells.
func firstPods(w workload, n int) bool {
	rs, is := w.obj.(*appsv1.ReplicaSet)
	return is && rs.Status.ObservedGeneration == 0 && int(replicas(rs.Spec.Replicas)) == n && metav1.GetControllerOfNoCopy(rs) != nil
}

// deleteSurplus deletes the n pods that are missed least.
func (e *Engine) deleteSurplus(w workload, f *flock, n int) {
	ranked := e.rankForDeletion(w, f)
	surplus := ranked[:min(n, len(ranked))]
	for _, p := range surplus {
		e.doomPod(p, -1)
	}
	e.saidDeleted(w, surplus)
}

// saidDeleted is saidCreated's counterpart.
func (e *Engine) saidDeleted(w workload, pods []*pod) {
	if !e.mayTell(len(pods), 1) && len(pods) != 1 {
		e.event(w.obj, w.gvk, corev1.EventTypeNormal, "SuccessfulDelete", w.component, fmt.Sprintf("Deleted %d pods", len(pods)))
		return
	}
	for _, p := range pods {
		e.event(w.obj, w.gvk, corev1.EventTypeNormal, "SuccessfulDelete", w.component, "Deleted pod: "+p.name())
	}
}

// rankForDeletion sorts the active pods, those that go first in front: without a node, pending, not
// ready, cheaper by annotation, sharing their node with most of their kind, ready for a shorter
// time, restarted more often, newer.
func (e *Engine) rankForDeletion(w workload, f *flock) []*pod {
	mates, restarted := e.matesByNode(w, f), map[*pod]int32{}
	list := make([]*pod, 0, f.active)
	for _, p := range f.pods {
		if p.counted.active {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *pod) int {
		if c := compareState(a, b, mates); c != 0 {
			return c
		}
		return cmp.Or(
			-cmp.Compare(mostRestarts(a, restarted), mostRestarts(b, restarted)),
			-cmp.Compare(a.rec.Created, b.rec.Created),
			strings.Compare(a.name(), b.name()),
		)
	})
	return list
}

func compareState(a, b *pod, mates map[string]int) int {
	return cmp.Or(
		compareBool(a.rec.Node != "", b.rec.Node != ""),
		cmp.Compare(phaseRank(a.rec.Phase()), phaseRank(b.rec.Phase())),
		compareBool(a.counted.ready, b.counted.ready),
		cmp.Compare(deletionCost(a), deletionCost(b)),
		-cmp.Compare(mates[a.rec.Node], mates[b.rec.Node]),
		-cmp.Compare(a.rec.Status.ReadySince(), b.rec.Status.ReadySince()),
	)
}

// mostRestarts is how often the pod's most troubled container was started again. It is asked only between pods that are equal in all
// that costs less to find out.
func mostRestarts(p *pod, known map[*pod]int32) int32 {
	n, ok := known[p]
	if !ok {
		s := p.rec.DecodeStatus()
		for i := range s.ContainerStatuses {
			n = max(n, s.ContainerStatuses[i].RestartCount)
		}
		known[p] = n
	}
	return n
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func phaseRank(p corev1.PodPhase) int {
	switch p {
	case corev1.PodPending:
		return 0
	case corev1.PodRunning:
		return 2
	}
	return 1
}

func deletionCost(p *pod) int64 {
	n, err := strconv.ParseInt(p.rec.Template.Pod.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil {
		return 0
	}
	return n
}

// matesByNode counts, by node, the active pods of the workload and of its siblings (the other
// ReplicaSets of its Deployment).
func (e *Engine) matesByNode(w workload, f *flock) map[string]int {
	count := map[string]int{}
	add := func(f *flock) {
		for _, p := range f.pods {
			if p.counted.active && p.rec.Node != "" {
				count[p.rec.Node]++
			}
		}
	}
	owner := metav1.GetControllerOf(w.obj)
	if owner == nil {
		add(f)
		return count
	}
	for r := range e.dependents[owner.UID] {
		if o := e.objects[r]; o != nil && r.gr == w.gr && e.flocks[o.meta.GetUID()] != nil {
			add(e.flocks[o.meta.GetUID()])
		}
	}
	return count
}

// available counts pods that have been ready for minReady seconds. next is when it will grow by
// time alone; zero is never.
func (e *Engine) available(f *flock, minReadySeconds int32) (n int, next time.Time) {
	if minReadySeconds == 0 {
		return f.ready, time.Time{}
	}
	for _, p := range f.pods {
		if !p.counted.ready {
			continue
		}
		at := time.Unix(p.rec.Status.ReadySince(), 0).Add(time.Duration(minReadySeconds) * time.Second)
		if !at.After(e.now) {
			n++
		} else if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return n, next
}

// reportReplicaSet writes the status if it is another one by now.
func (e *Engine) reportReplicaSet(o *object, rs *appsv1.ReplicaSet, f *flock) {
	s, next := e.replicaStatus(rs, f)
	if !next.IsZero() {
		e.wake(key{area: areaReplicaSet, ns: rs.Namespace, name: rs.Name}, next)
	}
	s.Conditions = e.replicaFailure(o, rs.Status.Conditions)
	if sameReplicaSetStatus(&s, &rs.Status) {
		return
	}
	settled := f.terminating == 0 && s.AvailableReplicas == s.Replicas && s.Replicas == replicas(rs.Spec.Replicas)
	if e.hold(key{area: areaReplicaSet, ns: rs.Namespace, name: rs.Name}, settled) {
		return
	}
	out := *rs
	out.Status = s
	e.put(ReplicaSets, &out, o.rev)
}

// replicaStatus counts the pods, and says when the next of them will have been ready for long enough.
func (e *Engine) replicaStatus(rs *appsv1.ReplicaSet, f *flock) (s appsv1.ReplicaSetStatus, next time.Time) {
	available, next := e.available(f, rs.Spec.MinReadySeconds)
	s = rs.Status
	s.Replicas, s.FullyLabeledReplicas = int32(f.active), int32(f.labeled)
	s.ReadyReplicas, s.AvailableReplicas = int32(f.ready), int32(available)
	s.TerminatingReplicas = new(int32)
	*s.TerminatingReplicas = int32(f.terminating)
	s.ObservedGeneration = rs.Generation
	return s, next
}

func sameReplicaSetStatus(a, b *appsv1.ReplicaSetStatus) bool {
	return a.Replicas == b.Replicas && a.FullyLabeledReplicas == b.FullyLabeledReplicas &&
		a.ReadyReplicas == b.ReadyReplicas && a.AvailableReplicas == b.AvailableReplicas &&
		a.ObservedGeneration == b.ObservedGeneration && len(a.Conditions) == len(b.Conditions) && sameCount(a.TerminatingReplicas, b.TerminatingReplicas)
}

func sameCount(a, b *int32) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }
