package reconcile

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var deploymentKind = appsv1.SchemeGroupVersion.WithKind("Deployment")

// rollout is one look at a deployment. d and the members' rs are copies to write into; what differs
// from the observed object in the end is put.
type rollout struct {
	e   *Engine
	o   *object
	old *appsv1.Deployment // as observed
	d   *appsv1.Deployment
	// members are the deployment's ReplicaSets, oldest first; current is the one of today's template.
	members []*member
	current *member
}

// member is one ReplicaSet. Its counters are the live ones of its pods, not its reported status.
type member struct {
	o         *object // nil: about to be created
	old, rs   *appsv1.ReplicaSet
	pods      *flock
	available int
	touched   bool
}

func (m *member) spec() int32 { return replicas(m.rs.Spec.Replicas) }

// syncDeployment brings the ReplicaSets of a deployment one safe move closer to what it asks for.
func (e *Engine) syncDeployment(k key) {
	o := e.object(Deployments, k.ns, k.name)
	if o == nil || e.written[o.ref] {
		return
	}
	r := e.newRollout(o)
	if r == nil {
		return // ReplicaSets are being adopted or written by others: their changes come back here
	}
	switch {
	case r.d.DeletionTimestamp != nil || e.terminating(k.ns):
	case r.d.Spec.Paused:
		r.notePause()
		r.adoptRevision()
		r.scaleEvenly()
		r.cleanUp()
	case r.isScaling():
		r.notePause()
		r.adoptRevision()
		r.scaleEvenly()
	default:
		r.notePause()
		r.roll()
	}
	r.report()
	r.write()
}

// newRollout gathers the members; nil if ownership is not settled yet.
func (e *Engine) newRollout(o *object) *rollout {
	d := o.obj.(*appsv1.Deployment)
	r := &rollout{e: e, o: o, old: d, d: shallowDeployment(d)}
	selector, settled := o.derive().selector, true
	for _, c := range e.concerned(o) {
		rs := c.obj.(*appsv1.ReplicaSet)
		w := metav1.GetControllerOfNoCopy(rs)
		matches := selector.Matches(labels.Set(rs.Labels))
		switch {
		case w == nil && matches && rs.DeletionTimestamp == nil && d.DeletionTimestamp == nil:
			e.ownReplicaSet(c, append(slices.Clone(rs.OwnerReferences), *metav1.NewControllerRef(d, deploymentKind)))
			settled = false
		case w == nil || w.UID != d.UID:
		case !matches && d.DeletionTimestamp == nil:
			e.ownReplicaSet(c, withoutOwner(rs.OwnerReferences, d.UID))
			settled = false
		default:
			settled = settled && !e.written[c.ref]
			r.members = append(r.members, e.newMember(c, rs))
		}
	}
	if !settled {
		return nil
	}
	slices.SortFunc(r.members, compareMembers)
	r.current = r.find()
	return r
}

// concerned are the ReplicaSets that name the deployment as an owner or nobody as their controller, by name. A namespace may have
// thousands of others.
func (e *Engine) concerned(o *object) (out []*object) {
	for r := range e.dependents[o.meta.GetUID()] {
		if r.gr == ReplicaSets && r.ns == o.ns {
			out = append(out, e.objects[r])
		}
	}
	for _, c := range e.space(o.ns).loose {
		if _, twice := e.dependents[o.meta.GetUID()][c.ref]; !twice {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *object) int { return strings.Compare(a.name, b.name) })
	return out
}

func (e *Engine) newMember(o *object, rs *appsv1.ReplicaSet) *member {
	m := &member{o: o, old: rs, rs: rs, pods: e.flock(rs.UID)}
	m.available, _ = e.available(m.pods, rs.Spec.MinReadySeconds)
	return m
}

func compareMembers(a, b *member) int {
	return cmp.Or(a.rs.CreationTimestamp.Compare(b.rs.CreationTimestamp.Time),
		cmp.Compare(revisionOf(a.rs), revisionOf(b.rs)), strings.Compare(a.rs.Name, b.rs.Name))
}

func (e *Engine) ownReplicaSet(o *object, owners []metav1.OwnerReference) {
	if e.written[o.ref] {
		return
	}
	rs := *o.obj.(*appsv1.ReplicaSet)
	rs.OwnerReferences = owners
	e.put(ReplicaSets, &rs, o.rev)
}

// edit makes the member's ReplicaSet writable.
func (m *member) edit() *appsv1.ReplicaSet {
	if !m.touched {
		m.touched = true
		if m.o != nil {
			c := *m.old
			c.Annotations = maps.Clone(c.Annotations)
			if c.Annotations == nil {
				c.Annotations = map[string]string{}
			}
			m.rs = &c
		}
	}
	return m.rs
}

func shallowDeployment(d *appsv1.Deployment) *appsv1.Deployment {
	c := *d
	c.Annotations = maps.Clone(d.Annotations)
	if c.Annotations == nil {
		c.Annotations = map[string]string{}
	}
	c.Status.Conditions = slices.Clone(d.Status.Conditions)
	return &c
}

// find is the oldest member that has today's template.
func (r *rollout) find() *member {
	for _, m := range r.members {
		if bytes.Equal(m.o.derive().template, r.o.derive().template) || sameTemplate(&m.rs.Spec.Template, &r.d.Spec.Template) {
			return m
		}
	}
	return nil
}

// sameTemplate compares two pod templates but for the hash label, field by field: equal quantities may be written in two ways.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	x, y := withoutHash(a), withoutHash(b)
	return equality.Semantic.DeepEqual(&x, &y)
}

func withoutHash(t *corev1.PodTemplateSpec) corev1.PodTemplateSpec {
	c := *t
	c.Labels = maps.Clone(t.Labels)
	delete(c.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return c
}

// derive computes what is not there yet.
func (o *object) derive() *derived {
	if o.derived != nil {
		return o.derived
	}
	d := &derived{}
	switch w := o.obj.(type) {
	case *appsv1.Deployment:
		t := withoutHash(&w.Spec.Template)
		d.selector, d.template = selectorOf(w.Spec.Selector), encodedTemplate(&t)
	case *appsv1.ReplicaSet:
		t := withoutHash(&w.Spec.Template)
		d.template = encodedTemplate(&t)
	}
	o.derived = d
	return d
}

func encodedTemplate(t *corev1.PodTemplateSpec) []byte {
	b, err := t.Marshal()
	if err != nil {
		panic("reconcile: a template that came from the store does not encode: " + err.Error())
	}
	return b
}

// olds are the members of other templates.
func (r *rollout) olds() []*member {
	out := make([]*member, 0, len(r.members))
	for _, m := range r.members {
		if m != r.current {
			out = append(out, m)
		}
	}
	return out
}

func (r *rollout) replicas() int32 { return replicas(r.d.Spec.Replicas) }

func (r *rollout) rolling() bool {
	return r.d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType
}

// bounds are maxSurge and maxUnavailable in pods: surge is rounded up, unavailability down, and not
// both may be zero, or nothing would ever move.
func (r *rollout) bounds() (surge, unavailable int32) {
	u := r.d.Spec.Strategy.RollingUpdate
	if !r.rolling() {
		return 0, 0
	}
	n, quarter := int(r.replicas()), intstr.FromString("25%")
	maxSurge, maxUnavailable := &quarter, &quarter
	if u != nil {
		maxSurge = intstr.ValueOrDefault(u.MaxSurge, quarter)
		maxUnavailable = intstr.ValueOrDefault(u.MaxUnavailable, quarter)
	}
	// Values that do not parse were refused by validation; they count as zero.
	s, _ := intstr.GetScaledValueFromIntOrPercent(maxSurge, n, true)
	v, _ := intstr.GetScaledValueFromIntOrPercent(maxUnavailable, n, false)
	if s == 0 && v == 0 {
		v = 1
	}
	return int32(s), min(int32(v), r.replicas())
}

// mostPods is how many pods there may be at once.
func (r *rollout) mostPods() int32 {
	surge, _ := r.bounds()
	return r.replicas() + surge
}

// sum adds up a number over members.
func sum(members []*member, of func(*member) int32) (n int32) {
	for _, m := range members {
		n += of(m)
	}
	return n
}

func specOf(m *member) int32      { return m.spec() }
func availableOf(m *member) int32 { return int32(m.available) }
func activeOf(m *member) int32    { return int32(m.pods.active) }
func readyOf(m *member) int32     { return int32(m.pods.ready) }

// write puts what has changed: members first, then the deployment.
func (r *rollout) write() {
	for _, m := range r.members {
		switch {
		case !m.touched:
		case m.o == nil:
			r.e.put(ReplicaSets, m.rs, 0)
			r.e.noteTold(key{area: areaReplicaSet, ns: m.rs.Namespace, name: m.rs.Name})
			r.e.noteTold(r.key())
		case m.changed():
			r.e.put(ReplicaSets, m.rs, m.o.rev)
		}
	}
	decided := r.decided()
	if !decided && equality.Semantic.DeepEqual(&r.old.Status, &r.d.Status) {
		return
	}
	if r.e.hold(r.key(), decided && !r.beginning() || r.complete() && *r.d.Status.TerminatingReplicas == 0) {
		return
	}
	if len(r.d.Annotations) == 0 {
		r.d.Annotations = r.old.Annotations
	}
	r.e.put(Deployments, r.d, r.o.rev)
}

func (r *rollout) key() key { return key{area: areaDeployment, ns: r.d.Namespace, name: r.d.Name} }

// beginning says whether a deployment that has never reported is about to get its first pods: a moment later its first status says how
// many there are too, instead of a second one.
func (r *rollout) beginning() bool {
	return r.old.Status.ObservedGeneration == 0 && r.current != nil && activeOf(r.current) < specOf(r.current)
}

// decided says whether more has changed than what is counted: then it is for somebody who waits for it, and is written at once.
func (r *rollout) decided() bool {
	a, b := &r.old.Status, &r.d.Status
	return !maps.Equal(r.old.Annotations, r.d.Annotations) || a.ObservedGeneration != b.ObservedGeneration ||
		replicasOrZero(a.CollisionCount) != replicasOrZero(b.CollisionCount)
}

// changed compares what a rollout writes of a ReplicaSet: its size and what else counts as a new generation, and its annotations.
func (m *member) changed() bool {
	return m.old.Generation != m.rs.Generation || !maps.Equal(m.old.Annotations, m.rs.Annotations)
}
