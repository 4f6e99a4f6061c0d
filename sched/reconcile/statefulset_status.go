package reconcile

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// report writes the status if it is another one by now. It counts what has been observed, not what was decided in this step.
func (s *ensemble) report() {
	s.count()
	s.completeUpdate()
	if !s.next.IsZero() {
		s.e.wake(key{area: areaStatefulSet, ns: s.set.Namespace, name: s.set.Name}, s.next)
	}
	if equality.Semantic.DeepEqual(s.status, s.set.Status) {
		return
	}
	out := *s.set
	out.Status = s.status
	s.e.put(StatefulSets, &out, s.o.rev)
}

func (s *ensemble) count() {
	n := &s.status
	n.ObservedGeneration = s.set.Generation
	n.Replicas, n.ReadyReplicas, n.AvailableReplicas, n.CurrentReplicas, n.UpdatedReplicas = 0, 0, 0, 0, 0
	for _, list := range [][]*pod{s.members, s.condemned} {
		for _, p := range list {
			if p != nil {
				s.countPod(p)
			}
		}
	}
}

func (s *ensemble) countPod(p *pod) {
	n := &s.status
	n.Replicas++
	if !p.rec.Terminal() && s.e.ready(p) {
		n.ReadyReplicas++
	}
	if s.available(p) {
		n.AvailableReplicas++
	}
	if p.rec.Deleting() {
		return
	}
	if revisionLabel(p) == n.CurrentRevision {
		n.CurrentReplicas++
	}
	if revisionLabel(p) == n.UpdateRevision {
		n.UpdatedReplicas++
	}
}

// completeUpdate makes today's revision the current one once every pod is of it and ready.
func (s *ensemble) completeUpdate() {
	n, want := &s.status, int32(len(s.members))
	if s.update == nil || s.set.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return
	}
	if n.UpdatedReplicas == want && n.ReadyReplicas == want && n.Replicas == want {
		n.CurrentReplicas, n.CurrentRevision = n.UpdatedReplicas, n.UpdateRevision
	}
}

// liveRevisions are the revisions that some pod has or may still get.
func (s *ensemble) liveRevisions() map[string]bool {
	live := map[string]bool{s.status.CurrentRevision: true, s.status.UpdateRevision: true}
	for _, p := range s.flock.pods {
		live[revisionLabel(p)] = true
	}
	return live
}
