package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var statefulSetKind = appsv1.SchemeGroupVersion.WithKind("StatefulSet")

// ensemble is one look at a StatefulSet: pods that are not interchangeable, each with a number, a name and claims of its own.
type ensemble struct {
	e      *Engine
	o      *object
	w      workload
	set    *appsv1.StatefulSet
	flock  *flock
	status appsv1.StatefulSetStatus

	chronicle *chronicle
	update    *appsv1.ControllerRevision // of today's template

	members   []*pod // by index, which is the ordinal less the first ordinal; nil is missing
	condemned []*pod // beyond the members, the highest ordinal first
	missing   []int  // indexes of pods to be made now

	acted bool      // pods are made or deleted in this step
	next  time.Time // when a pod will have been ready for long enough; zero is never
}

// syncStatefulSet keeps the pods of a StatefulSet and their claims. It writes StatefulSets' statuses, pods, claims and ControllerRevisions.
func (e *Engine) syncStatefulSet(k key) {
	o := e.object(StatefulSets, k.ns, k.name)
	if o == nil || e.written[o.ref] {
		return // a written one comes back when the write is observed
	}
	s := e.ensembleOf(o)
	delete(e.refused, o.ref)
	s.gather()
	if s.set.DeletionTimestamp == nil && !e.terminating(k.ns) {
		if e.adoptIf(s.w, s.flock, s.isMember) || e.release(s.flock) || !s.findRevisions() {
			return
		}
		s.act()
	}
	s.report()
}

func (e *Engine) ensembleOf(o *object) *ensemble {
	set := o.obj.(*appsv1.StatefulSet)
	return &ensemble{e: e, o: o, set: set, flock: e.flock(set.UID), status: set.Status,
		w: workload{ref: o.ref, obj: set, gvk: statefulSetKind, component: "statefulset-controller"}}
}

// ordinal is the number in a pod's name, if the name is one that a pod of the set has.
func (s *ensemble) ordinal(name string) (int, bool) {
	text, ok := strings.CutPrefix(name, s.set.Name+"-")
	n, err := strconv.Atoi(text)
	return n, ok && err == nil && n >= 0 && strconv.Itoa(n) == text
}

func (s *ensemble) isMember(p *pod) bool {
	_, ok := s.ordinal(p.name())
	return ok
}

func (s *ensemble) podName(index int) string { return s.set.Name + "-" + strconv.Itoa(s.first()+index) }

// first is the ordinal of the first pod.
func (s *ensemble) first() int {
	if s.set.Spec.Ordinals != nil {
		return int(s.set.Spec.Ordinals.Start)
	}
	return 0
}

// gather sorts the set's pods into those that should be and those that should not.
func (s *ensemble) gather() {
	s.members = make([]*pod, replicas(s.set.Spec.Replicas))
	for _, p := range s.flock.pods {
		n, ok := s.ordinal(p.name())
		switch i := n - s.first(); {
		case !ok || !p.counted.controlled:
		case i >= 0 && i < len(s.members):
			s.members[i] = p
		default:
			s.condemned = append(s.condemned, p)
		}
	}
	slices.SortFunc(s.condemned, func(a, b *pod) int {
		x, _ := s.ordinal(a.name())
		y, _ := s.ordinal(b.name())
		return cmp.Compare(y, x)
	})
}

// findRevisions names the revisions of today's template and of the one before it. It reports false if that has to wait.
func (s *ensemble) findRevisions() bool {
	s.chronicle = s.e.chronicle(s.w, s.flock.selector, revisionHashLabel)
	if s.chronicle == nil {
		return false
	}
	if s.status.CollisionCount == nil {
		s.status.CollisionCount = new(int32)
	}
	update, fresh := s.chronicle.present(&s.set.Spec.Template, &s.status.CollisionCount)
	if update == nil {
		return false
	}
	s.update, s.acted = update, fresh // pods of a revision that is only being written have to wait
	s.status.UpdateRevision = update.Name
	if s.chronicle.find(s.status.CurrentRevision) == nil {
		s.status.CurrentRevision = update.Name
	}
	return true
}

// revisionHashLabel is the label of a StatefulSet's revisions that has their hash.
const revisionHashLabel = "controller.kubernetes.io/hash"

// ordered says whether pods come and go one after the other.
func (s *ensemble) ordered() bool {
	return s.set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement
}

// act makes the next moves: first whoever is missing, then whoever is too many, then whoever is out of date. Of an ordered set each waits
// until all is well with those before it.
func (s *ensemble) act() {
	if s.acted {
		return
	}
	well := s.fill()
	s.createMissing()
	if well || !s.ordered() {
		s.dismiss()
		s.renew()
	}
	s.chronicle.truncate(s.set.Spec.RevisionHistoryLimit, s.liveRevisions())
}

// fill looks at the members in order and finds out who is to be made. It reports whether all is well with all of them.
func (s *ensemble) fill() bool {
	all := true
	for i, p := range s.members {
		if s.settled(i, p) {
			continue
		}
		all = false
		if s.ordered() {
			break
		}
	}
	return all
}

// settled says whether all is well with one member, and does what can be done if not.
func (s *ensemble) settled(i int, p *pod) bool {
	switch {
	case p == nil:
		s.missing = append(s.missing, i)
		return false
	case p.deleting():
		return false
	case p.rec.Terminal():
		s.replaceEnded(p)
		return false
	}
	if p.rec.Phase() == corev1.PodPending {
		s.makeClaims(i)
	}
	if !s.available(p) && s.ordered() {
		return false
	}
	return s.ownClaims(p, false) && s.identified(i, p) && s.available(p)
}

// replaceEnded deletes a pod that has ended, whatever the outcome was: its successor has its name.
func (s *ensemble) replaceEnded(p *pod) {
	kind, reason, what := corev1.EventTypeNormal, "RecreatingTerminatedPod", "terminated"
	if p.rec.Phase() == corev1.PodFailed {
		kind, reason, what = corev1.EventTypeWarning, "RecreatingFailedPod", "failed"
	}
	s.say(kind, reason, fmt.Sprintf("StatefulSet %s/%s is recreating %s Pod %s", s.set.Namespace, s.set.Name, what, p.name()))
	s.remove(p)
}

// dismiss deletes pods that are too many, the highest ordinal first. Those of an ordered set that are not well keep the others waiting,
// but for the first of them: that one may be why there are to be fewer.
func (s *ensemble) dismiss() {
	var unwell *pod
	for _, p := range s.condemned {
		if unwell == nil && (p.deleting() || !s.available(p)) {
			unwell = p
		}
		switch {
		case p.deleting() && s.ordered():
			return
		case p.deleting():
			continue
		case s.ordered() && !s.available(p) && p != unwell:
			return
		}
		if s.ownClaims(p, true) {
			s.remove(p)
		}
		if s.ordered() {
			s.acted = true
			return
		}
	}
}

// renew deletes pods of older templates, the highest ordinal first, as many as may be missing at once. One that is of no use anyway may
// always go, so that a set whose pods are broken can be mended.
func (s *ensemble) renew() {
	if s.acted || s.set.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return
	}
	room := s.maxUnavailable()
	for _, p := range s.members {
		if p == nil || p.deleting() || !s.available(p) {
			room--
		}
	}
	for i := len(s.members) - 1; i >= s.partition(); i-- {
		p := s.members[i]
		switch {
		case p == nil || p.deleting() || revisionLabel(p) == s.update.Name:
		case !s.available(p):
			s.remove(p)
		case room > 0:
			room--
			s.remove(p)
		}
	}
}

// partition is the index below which pods stay as they are.
func (s *ensemble) partition() int {
	if u := s.set.Spec.UpdateStrategy.RollingUpdate; u != nil && u.Partition != nil {
		return int(*u.Partition)
	}
	return 0
}

func (s *ensemble) maxUnavailable() int {
	u := s.set.Spec.UpdateStrategy.RollingUpdate
	if u == nil || u.MaxUnavailable == nil {
		return 1
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(u.MaxUnavailable, len(s.members), true)
	if err != nil { // validation would have refused it
		return 1
	}
	return max(1, n)
}

func revisionLabel(p *pod) string { return p.rec.Labels()[appsv1.ControllerRevisionHashLabelKey] }

// available says whether a pod has been ready for long enough, and notes when it will have been.
func (s *ensemble) available(p *pod) bool {
	ok, at := s.e.availableSince(p, s.set.Spec.MinReadySeconds)
	if !ok && !at.IsZero() && (s.next.IsZero() || at.Before(s.next)) {
		s.next = at
	}
	return ok
}

// availableSince says whether a pod has been ready for minReadySeconds; if it is ready and has not, at is when it will have been.
func (e *Engine) availableSince(p *pod, minReadySeconds int32) (ok bool, at time.Time) {
	if p.rec.Terminal() || !e.ready(p) {
		return false, time.Time{}
	}
	at = time.Unix(p.rec.Status.ReadySince(), 0).Add(time.Duration(minReadySeconds) * time.Second)
	return minReadySeconds == 0 || !at.After(e.now), at
}

func (s *ensemble) say(kind, reason, message string) {
	s.e.event(s.set, statefulSetKind, kind, reason, s.w.component, message)
}
