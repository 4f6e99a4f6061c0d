package reconcile

import (
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var daemonSetKind = appsv1.SchemeGroupVersion.WithKind("DaemonSet")

// muster is one look at a DaemonSet: at those of its nodes of which something is new.
type muster struct {
	e      *Engine
	o      *object
	w      workload
	set    *appsv1.DaemonSet
	d      *daemon
	status appsv1.DaemonSetStatus
	create []string // nodes that get a pod
}

// syncBerth remembers that one node of a DaemonSet is to be looked at.
func (e *Engine) syncBerth(k key) {
	o := e.object(DaemonSets, k.ns, k.name)
	if o == nil {
		return
	}
	if d := e.daemons[o.meta.GetUID()]; d != nil {
		d.touched[k.resource] = struct{}{}
		e.markObject(o)
	}
}

// syncDaemonSet keeps a pod on every node that should have one. It writes DaemonSets' statuses, pods and ControllerRevisions.
func (e *Engine) syncDaemonSet(k key) {
	o := e.object(DaemonSets, k.ns, k.name)
	if o == nil || e.written[o.ref] {
		return // a written one comes back when the write is observed
	}
	set := o.obj.(*appsv1.DaemonSet)
	m := &muster{e: e, o: o, set: set, d: e.daemons[set.UID], status: set.Status,
		w: workload{ref: o.ref, obj: set, gvk: daemonSetKind, component: "daemonset-controller"}}
	delete(e.refused, o.ref)
	if set.DeletionTimestamp != nil || e.terminating(k.ns) {
		m.look(m.take())
		m.report()
		return
	}
	f := e.flock(set.UID)
	if e.adopt(m.w, f) || e.release(f) {
		return
	}
	if c := m.findRevision(f); c != nil {
		m.act(c)
	}
}

// findRevision names the revision of today's template. It is nil if that has to wait; nothing is reported then, or a rollout would look
// as if it was over before it began.
func (m *muster) findRevision(f *flock) *chronicle {
	c := m.e.chronicle(m.w, f.selector, appsv1.DefaultDaemonSetUniqueLabelKey)
	if c == nil {
		return nil
	}
	r, fresh := c.present(&m.set.Spec.Template, &m.status.CollisionCount)
	if r == nil || fresh {
		return nil
	}
	if hash := r.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]; hash != m.d.hash {
		m.d.hash, m.d.all = hash, true
	}
	return c
}

func (m *muster) act(c *chronicle) {
	nodes := m.take()
	m.look(nodes)
	for _, name := range nodes {
		if b := m.d.berths[name]; b != nil {
			m.manage(name, b)
		}
	}
	if m.set.Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType {
		m.roll(nodes)
	}
	m.createPods()
	c.truncate(m.set.Spec.RevisionHistoryLimit, m.liveRevisions(c))
	m.report()
}

// take is the nodes to be looked at, in a fixed order.
func (m *muster) take() []string {
	d := m.d
	if d.all {
		d.all = false
		for name := range m.e.space("").objects[Nodes] {
			d.touched[name] = struct{}{}
		}
		for name := range d.berths {
			d.touched[name] = struct{}{}
		}
	}
	nodes := slices.Sorted(maps.Keys(d.touched))
	d.touched = emptied(d.touched)
	return nodes
}

// look brings the books about the nodes up to date.
func (m *muster) look(nodes []string) {
	for _, name := range nodes {
		m.d.look(m.e, name, m.set.Spec.MinReadySeconds)
	}
}

// manage makes the pods of one node right, whatever their templates are: the node has one or none.
func (m *muster) manage(node string, b *berth) {
	switch {
	case !b.is.kept:
		for _, p := range b.pods {
			m.remove(p)
		}
	case len(b.pods) == 0 && b.is.wanted:
		m.create = append(m.create, node)
	default:
		m.clearEnded(node, b)
		m.cull(b)
	}
}

// cull deletes pods that are more than a node should have: one, or while it is being renewed by surge the oldest of each template. The pod
// before goes once the new one is available, or at once if it is of no use itself.
func (m *muster) cull(b *berth) {
	live := b.live()
	if len(live) < 2 {
		return
	}
	if surge, _ := m.bounds(); surge == 0 {
		for _, p := range live[1:] {
			m.remove(p)
		}
		return
	}
	old, young := -1, -1
	for i, p := range live {
		switch {
		case m.d.updated(p) && young < 0:
			young = i
		case !m.d.updated(p) && old < 0:
			old = i
		default:
			m.remove(p)
		}
	}
	if old >= 0 && young >= 0 && (m.available(live[young]) || !m.available(live[old])) {
		m.remove(live[old])
	}
}

func (m *muster) available(p *pod) bool {
	ok, _ := m.e.availableSince(p, m.set.Spec.MinReadySeconds)
	return ok
}

// roll replaces pods of older templates. Those that are not available may go at any time; of the others as many as the strategy allows.
func (m *muster) roll(nodes []string) {
	surge, unavailable := m.bounds()
	replace := m.retire
	room := unavailable - (m.d.sums.desired - m.d.sums.available)
	if surge > 0 {
		replace = m.relieve
		room = surge - m.d.sums.surging
	}
	for _, name := range nodes {
		if b := m.d.berths[name]; b != nil && b.is.behind && !b.is.available {
			replace(name, b)
		}
	}
	for ; room > 0; room-- {
		name, b := m.d.nextBehind()
		if b == nil {
			return
		}
		replace(name, b)
	}
}

// retire deletes a node's old pod; the new one comes when it has gone.
func (m *muster) retire(_ string, b *berth) {
	for _, p := range b.live() {
		m.remove(p)
	}
}

// relieve makes the new pod beside the old one.
func (m *muster) relieve(node string, _ *berth) { m.create = append(m.create, node) }

// bounds are maxSurge and maxUnavailable in nodes, rounded up; not both are zero, or nothing would ever move.
func (m *muster) bounds() (surge, unavailable int) {
	u := m.set.Spec.UpdateStrategy.RollingUpdate
	if u == nil {
		return 0, 1
	}
	one, none := intstr.FromInt32(1), intstr.FromInt32(0)
	// Values that do not parse were refused by validation; they count as zero.
	surge, _ = intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(u.MaxSurge, none), m.d.sums.desired, true)
	unavailable, _ = intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(u.MaxUnavailable, one), m.d.sums.desired, true)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

// liveRevisions are the revisions that some pod still has, by name.
func (m *muster) liveRevisions(c *chronicle) map[string]bool {
	live := map[string]bool{}
	if len(c.list) < 2 { // nothing would be deleted
		return live
	}
	hashes := map[string]bool{m.d.hash: true}
	for _, p := range m.e.flock(m.set.UID).pods {
		hashes[revisionLabel(p)] = true
	}
	for _, o := range c.list {
		live[o.name] = hashes[o.meta.GetLabels()[appsv1.DefaultDaemonSetUniqueLabelKey]]
	}
	return live
}

// report writes the status if it is another one by now.
func (m *muster) report() {
	s, n := &m.status, &m.d.sums
	s.ObservedGeneration = m.set.Generation
	s.DesiredNumberScheduled, s.CurrentNumberScheduled, s.NumberMisscheduled = int32(n.desired), int32(n.current), int32(n.misscheduled)
	s.NumberReady, s.NumberAvailable, s.UpdatedNumberScheduled = int32(n.ready), int32(n.available), int32(n.updated)
	s.NumberUnavailable = int32(n.desired - n.available)
	if equality.Semantic.DeepEqual(m.status, m.set.Status) {
		return
	}
	out := *m.set
	out.Status = m.status
	m.e.put(DaemonSets, &out, m.o.rev)
}

func (m *muster) say(kind, reason, message string) {
	m.e.event(m.set, daemonSetKind, kind, reason, m.w.component, message)
}

// remove deletes a pod in its own time.
func (m *muster) remove(p *pod) {
	if p.deleting() {
		return
	}
	m.e.doomPod(p, -1)
	m.say(corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: "+p.name())
}
