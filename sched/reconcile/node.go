package reconcile

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/sched"
)

// liveness is what the server says about a node; unsaid leaves the Node object's own words alone.
type liveness uint8

const (
	unsaid liveness = iota
	up
	down
)

// NodeDown says that the node is dead or cut off. The next step takes its endpoints out, deletes
// its stateless pods and replaces them.
func (e *Engine) NodeDown(name string) { e.setLiveness(name, down) }

// NodeUp says that the node lives.
func (e *Engine) NodeUp(name string) { e.setLiveness(name, up) }

func (e *Engine) setLiveness(name string, l liveness) {
	if e.liveness[name] == l {
		return
	}
	e.liveness[name] = l
	e.trust(name)
	e.mark(key{area: areaNode, name: name})
	e.markBalancers()
	for _, p := range e.podsOn(name) {
		e.recount(p)
		e.memberChanged(p)
	}
}

func (e *Engine) nodeDown(name string) bool { return name != "" && e.liveness[name] == down }

// noticedNode keeps the scheduler's table and the address pool.
func (e *Engine) noticedNode(old, o *object) {
	e.noticedBerths(old, o)
	if o == nil {
		delete(e.turned, old.name)
		e.noticedGate(old.name, nil)
		e.table.RemoveNode(old.name)
		e.neighboursChanged() // a domain less
		e.releaseCIDRs(old.obj.(*corev1.Node))
		delete(e.liveness, old.name)
		e.trust(old.name)
		e.mark(key{area: areaNode, name: old.name})
		e.markVolumesOf(old.name)
		return
	}
	n := o.obj.(*corev1.Node)
	if old == nil {
		e.trust(n.Name)
	}
	e.noteConditions(old, n)
	e.noticedGate(n.Name, n)
	e.takeCIDRs(n)
	e.setNode(n)
	if keepsVolumes(n) && (old == nil || !keepsVolumes(old.obj.(*corev1.Node))) {
		e.roomFreed = true
		e.offer(func(*corev1.PersistentVolumeClaim) bool { return true })
	}
	if old == nil || !equality.Semantic.DeepEqual(old.obj.(*corev1.Node).Spec.Taints, n.Spec.Taints) {
		for _, p := range e.podsOn(n.Name) {
			e.podOnNode(p)
			e.reconsider(p)
		}
	}
	if old != nil && old.meta.GetLabels()[corev1.LabelTopologyZone] != n.Labels[corev1.LabelTopologyZone] {
		for _, p := range e.podsOn(n.Name) {
			e.memberChanged(p)
		}
	}
}

// setNode tells the scheduler what a node is like now. Whoever tells it first must have waiting pods tried again: the second
// time nothing is new.
func (e *Engine) setNode(n *corev1.Node) {
	if e.table.SetNode(n) {
		e.roomFreed = true
	}
}

func podCIDR(n *corev1.Node) string { return n.Spec.PodCIDR }

// podCIDR6 is the node's block of the second family; "" if it has none.
func podCIDR6(n *corev1.Node) string {
	if len(n.Spec.PodCIDRs) < 2 {
		return ""
	}
	return n.Spec.PodCIDRs[1]
}

func (e *Engine) takeCIDRs(n *corev1.Node) {
	e.cidrs.take(podCIDR(n))
	e.cidrs6.take(podCIDR6(n))
}

func (e *Engine) releaseCIDRs(n *corev1.Node) {
	e.cidrs.release(podCIDR(n))
	e.cidrs6.release(podCIDR6(n))
}

// calm says whether pods may be on the node for ever: it is there, lives and evicts nobody.
func (e *Engine) calm(node string) bool {
	o := e.object(Nodes, "", node)
	return o != nil && !e.nodeDown(node) && !evicts(o.obj.(*corev1.Node))
}

func evicts(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoExecute })
}

// podOnNode marks a pod whose node is known to be trouble.
func (e *Engine) podOnNode(p *pod) {
	o := e.object(Nodes, "", p.rec.Node)
	if o == nil || e.nodeDown(p.rec.Node) {
		e.mark(key{area: areaNode, name: p.rec.Node})
		return
	}
	if evicts(o.obj.(*corev1.Node)) {
		e.mark(key{area: areaEviction, ns: p.ns(), name: p.name()})
	}
}

// syncNode writes the node's address block, taints and Ready condition, and clears a dead one.
func (e *Engine) syncNode(k key) {
	o := e.object(Nodes, "", k.name)
	if o == nil {
		e.clearStray(k)
		return
	}
	n := ownNode(o.obj.(*corev1.Node))
	e.sayConditions(n)
	changed := e.giveCIDR(n)
	changed = e.setReady(n) || changed
	changed = setTaints(n) || changed
	changed = e.dateTaints(n) || changed
	if changed && !e.written[o.ref] {
		e.put(Nodes, n, o.rev)
		e.setNode(n) // what this step places next must know
	}
	if e.nodeDown(k.name) {
		e.clearDead(k)
	}
}

// ownNode is a copy of which what this controller writes may be changed: a new leader looks at every node.
func ownNode(n *corev1.Node) *corev1.Node {
	c := *n
	c.Spec.Taints, c.Status.Conditions = slices.Clone(n.Spec.Taints), slices.Clone(n.Status.Conditions)
	return &c
}

func (e *Engine) giveCIDR(n *corev1.Node) bool {
	if n.Spec.PodCIDR != "" || n.DeletionTimestamp != nil {
		return false
	}
	c := e.cidrs.next()
	if c == "" {
		return false
	}
	n.Spec.PodCIDR, n.Spec.PodCIDRs = c, []string{c}
	if six := e.cidrs6.next(); six != "" {
		n.Spec.PodCIDRs = append(n.Spec.PodCIDRs, six)
	}
	return true
}

// setReady writes condition Ready where the server's word differs from it.
func (e *Engine) setReady(n *corev1.Node) bool {
	c := nodeCondition(n, corev1.NodeReady)
	switch e.liveness[n.Name] {
	case down:
		if c != nil && c.Status == corev1.ConditionUnknown {
			return false
		}
		e.event(n, corev1.SchemeGroupVersion.WithKind("Node"), corev1.EventTypeNormal, "NodeNotReady", "node-controller",
			"Node "+n.Name+" status is now: NodeNotReady")
		e.setNodeReady(n, corev1.ConditionUnknown, "NodeStatusUnknown", "Kubelet stopped posting node status.")
		return true
	case up:
		if c != nil && c.Status != corev1.ConditionUnknown {
			return false // what the agent says of itself stands
		}
		e.setNodeReady(n, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status")
		return true
	}
	return false
}

func (e *Engine) setNodeReady(n *corev1.Node, s corev1.ConditionStatus, reason, message string) {
	now := metav1.NewTime(e.now.Truncate(time.Second))
	c := corev1.NodeCondition{Type: corev1.NodeReady, Status: s, Reason: reason, Message: message, LastHeartbeatTime: now, LastTransitionTime: now}
	if old := nodeCondition(n, corev1.NodeReady); old != nil {
		*old = c
		return
	}
	n.Status.Conditions = append(n.Status.Conditions, c)
}

func nodeCondition(n *corev1.Node, t corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == t {
			return &n.Status.Conditions[i]
		}
	}
	return nil
}

// ourTaints are the taints that follow the node's state; the value says whether it has it.
func ourTaints(n *corev1.Node) []struct {
	taint corev1.Taint
	want  bool
} {
	ready := corev1.ConditionFalse
	if c := nodeCondition(n, corev1.NodeReady); c != nil {
		ready = c.Status
	}
	type row = struct {
		taint corev1.Taint
		want  bool
	}
	rows := []row{{corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}, n.Spec.Unschedulable}}
	for _, effect := range []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute} {
		rows = append(rows,
			row{corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: effect}, ready == corev1.ConditionFalse},
			row{corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: effect}, ready == corev1.ConditionUnknown})
	}
	for _, p := range []struct {
		condition corev1.NodeConditionType
		taint     string
	}{
		{corev1.NodeMemoryPressure, corev1.TaintNodeMemoryPressure},
		{corev1.NodeDiskPressure, corev1.TaintNodeDiskPressure},
		{corev1.NodePIDPressure, corev1.TaintNodePIDPressure},
		{corev1.NodeNetworkUnavailable, corev1.TaintNodeNetworkUnavailable},
	} {
		c := nodeCondition(n, p.condition)
		rows = append(rows, row{corev1.Taint{Key: p.taint, Effect: corev1.TaintEffectNoSchedule}, c != nil && c.Status == corev1.ConditionTrue})
	}
	return rows
}

// setTaints adds and removes the taints that follow the node's state; others are people's own. A
// node that has never said that it is ready counts as not ready.
func setTaints(n *corev1.Node) (changed bool) {
	for _, row := range ourTaints(n) {
		i := slices.IndexFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == row.taint.Key && t.Effect == row.taint.Effect })
		switch {
		case row.want && i < 0:
			n.Spec.Taints = append(n.Spec.Taints, row.taint)
		case !row.want && i >= 0:
			n.Spec.Taints = slices.Delete(n.Spec.Taints, i, i+1)
		default:
			continue
		}
		changed = true
	}
	if len(n.Spec.Taints) == 0 {
		n.Spec.Taints = nil
	}
	return changed
}

// dateTaints notes when a NoExecute taint came, so that every leader counts from the same time.
func (e *Engine) dateTaints(n *corev1.Node) (changed bool) {
	for i := range n.Spec.Taints {
		if t := &n.Spec.Taints[i]; t.Effect == corev1.TaintEffectNoExecute && t.TimeAdded == nil {
			now := metav1.NewTime(e.now.Truncate(time.Second))
			t.TimeAdded, changed = &now, true
		}
	}
	return changed
}

// clearDead deletes the pods of a dead node that are to be replaced, some of them only once they have ended there, and says
// of the others that they are not ready.
func (e *Engine) clearDead(k key) {
	for _, p := range podsByName(slices.Values(e.podsOn(k.name))) {
		switch r := e.replacement(p); {
		case r == api.MovesAtOnce:
			e.doomPod(p, 0)
		case r == api.MovesFenced && e.guarded(p) && e.leaseEnded(k):
			e.moveFenced(p)
		default:
			e.notReady(p)
		}
	}
}

// notReady says of a pod that its node does not answer.
func (e *Engine) notReady(p *pod) {
	s := p.rec.DecodeStatus()
	c := podCondition(&s, corev1.PodReady)
	if p.rec.Terminal() || c == nil || c.Status == corev1.ConditionFalse {
		return
	}
	setPodCondition(&s, corev1.PodCondition{
		Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "NodeNotReady",
		Message: "The node does not answer.", LastTransitionTime: metav1.NewTime(e.now.Truncate(time.Second)),
	})
	e.putPodStatus(p, &s)
}

// clearStray deletes the pods of a node that does not exist: at once if it was deleted, after a
// while if it was never seen (its registration may be on the way). Those that must not run twice have the time to end.
func (e *Engine) clearStray(k key) {
	var next time.Time
	for _, p := range podsByName(slices.Values(e.podsOn(k.name))) {
		at := time.Unix(p.rec.Created, 0).Add(strayNodeGrace)
		switch {
		case at.After(e.now):
			if next.IsZero() || at.Before(next) {
				next = at
			}
		case e.replacement(p) != api.MovesFenced || e.cfg.Leases == nil || e.leaseEnded(k):
			e.doomPod(p, 0)
		}
	}
	if !next.IsZero() {
		e.wake(k, next)
	}
}

// syncEviction deletes a pod that does not tolerate a NoExecute taint, when its time is up. The taints
// of a dead node are not for here: who moves then is decided by what controls the pod. A node that lives and says of itself that it
// is not ready keeps its pods for as long as they tolerate that.
func (e *Engine) syncEviction(k key) {
	p := e.pod(k.ns, k.name)
	if p == nil || p.deleting() || p.rec.Terminal() {
		return
	}
	o := e.object(Nodes, "", p.rec.Node)
	if o == nil {
		return
	}
	if e.nodeDown(p.rec.Node) {
		return
	}
	at, evict := evictionTime(o.obj.(*corev1.Node), p, e.now)
	switch {
	case !evict:
		e.reprieve(p)
	case !at.After(e.now):
		e.endForTaint(p)
	default:
		e.sentenced[p.rec.UID] = p
		e.wake(k, at)
	}
}

// evictionTime is when the first taint that is not tolerated for ever ends the pod.
func evictionTime(n *corev1.Node, p *pod, now time.Time) (at time.Time, evict bool) {
	for i := range n.Spec.Taints {
		t := &n.Spec.Taints[i]
		if t.Effect != corev1.TaintEffectNoExecute || t.Key == corev1.TaintNodeUnreachable {
			continue
		}
		left, ends := toleratedFor(p.rec.Spec().Tolerations, t)
		if !ends {
			continue
		}
		since := now // syncNode will note the taint's time; the change brings the pod back here
		if t.TimeAdded != nil {
			since = later(t.TimeAdded.Time, time.Unix(p.rec.Created, 0))
		}
		if end := since.Add(left); !evict || end.Before(at) {
			at, evict = end, true
		}
	}
	return at, evict
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// toleratedFor is for how long the taint is tolerated; ends is false for ever.
func toleratedFor(tolerations []corev1.Toleration, t *corev1.Taint) (d time.Duration, ends bool) {
	tolerated := false
	for i := range tolerations {
		if !sched.Tolerates(&tolerations[i], t) {
			continue
		}
		tolerated = true
		if n := tolerations[i].TolerationSeconds; n != nil {
			if s := time.Duration(max(0, *n)) * time.Second; !ends || s < d {
				d, ends = s, true
			}
		}
	}
	return d, ends || !tolerated
}
