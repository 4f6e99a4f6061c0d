package reconcile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
)

func (s *ensemble) claimName(t *corev1.PersistentVolumeClaim, index int) string {
	return t.Name + "-" + s.podName(index)
}

// claimsReady says whether a pod has every claim that it is to have, and makes those that are missing: the pod comes once they are there. A
// claim that is about to go, because the pod before had it for itself, is waited for.
func (s *ensemble) claimsReady(index int) bool {
	ready := s.makeClaims(index)
	for i := range s.set.Spec.VolumeClaimTemplates {
		name := s.claimName(&s.set.Spec.VolumeClaimTemplates[i], index)
		o := s.e.object(Claims, s.set.Namespace, name)
		switch {
		case o == nil:
		case o.meta.GetDeletionTimestamp() != nil:
			s.saidFailed(s.podName(index), fmt.Sprintf("pvc %s is being deleted", name))
			ready = false
		case s.scaledPolicy() && ownedByPod(o.meta, s.podName(index)):
			ready = false
		}
	}
	return ready
}

// ownedByPod says whether a pod of the name is among the owners.
func ownedByPod(m metav1.Object, name string) bool {
	return slices.ContainsFunc(m.GetOwnerReferences(), func(w metav1.OwnerReference) bool { return w.Kind == "Pod" && w.Name == name })
}

// makeClaims makes the claims of a pod that do not exist. It reports whether all do.
func (s *ensemble) makeClaims(index int) (all bool) {
	all = true
	for i := range s.set.Spec.VolumeClaimTemplates {
		t := &s.set.Spec.VolumeClaimTemplates[i]
		r := ref{Claims, s.set.Namespace, s.claimName(t, index)}
		if s.e.objects[r] != nil {
			continue
		}
		all = false
		if !s.e.written[r] {
			s.e.put(Claims, s.newClaim(t, r), 0)
			s.say(corev1.EventTypeNormal, "SuccessfulCreate",
				fmt.Sprintf("create Claim %s Pod %s in StatefulSet %s success", r.name, s.podName(index), s.set.Name))
		}
	}
	return all
}

func (s *ensemble) newClaim(t *corev1.PersistentVolumeClaim, r ref) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.ns, Name: r.name, Labels: map[string]string{}, Annotations: t.Annotations, Finalizers: t.Finalizers},
		Spec:       *t.Spec.DeepCopy(),
	}
	maps.Copy(c.Labels, t.Labels)
	if s.set.Spec.Selector != nil {
		maps.Copy(c.Labels, s.set.Spec.Selector.MatchLabels)
	}
	if s.deletedPolicy() {
		c.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(s.set, statefulSetKind)}
	}
	k := api.KindFor(Claims)
	k.PrepareForCreate(c)
	k.Default(c)
	s.e.stamp(&c.ObjectMeta)
	c.Generation = 0
	return c
}

// deletedPolicy says whether claims go with the set, scaledPolicy whether they go with a pod that is too many.
func (s *ensemble) deletedPolicy() bool {
	p := s.set.Spec.PersistentVolumeClaimRetentionPolicy
	return p != nil && p.WhenDeleted == appsv1.DeletePersistentVolumeClaimRetentionPolicyType
}

func (s *ensemble) scaledPolicy() bool {
	p := s.set.Spec.PersistentVolumeClaimRetentionPolicy
	return p != nil && p.WhenScaled == appsv1.DeletePersistentVolumeClaimRetentionPolicyType
}

// ownClaims makes the pod's claims belong to whom they are to go with. It reports whether they do: a pod that takes its claims along may
// only go then.
func (s *ensemble) ownClaims(p *pod, condemned bool) (settled bool) {
	settled = true
	for i := range s.set.Spec.VolumeClaimTemplates {
		o := s.e.object(Claims, p.ns(), s.set.Spec.VolumeClaimTemplates[i].Name+"-"+p.name())
		if o == nil || o.meta.GetDeletionTimestamp() != nil {
			continue
		}
		if owners := s.claimOwners(o.meta, p, condemned); !equality.Semantic.DeepEqual(owners, o.meta.GetOwnerReferences()) {
			s.e.setOwners(o, owners)
			settled = false
		}
	}
	return settled
}

// claimOwners are the owners that a claim should have. A claim that somebody else controls is left alone.
func (s *ensemble) claimOwners(m metav1.Object, p *pod, condemned bool) []metav1.OwnerReference {
	was := m.GetOwnerReferences()
	ours := func(w metav1.OwnerReference) bool { return w.UID == s.set.UID || w.Kind == "Pod" && w.Name == p.name() }
	if c := metav1.GetControllerOfNoCopy(m); c != nil && !ours(*c) {
		return was
	}
	var want *metav1.OwnerReference
	switch {
	case condemned && s.scaledPolicy():
		want = metav1.NewControllerRef(p.rec.Pod(), corev1.SchemeGroupVersion.WithKind("Pod"))
	case s.deletedPolicy():
		want = metav1.NewControllerRef(s.set, statefulSetKind)
	}
	var out []metav1.OwnerReference
	for _, w := range was {
		switch {
		case !ours(w):
			out = append(out, w)
		case want != nil && w.UID == want.UID: // also one that another version has written in other words
			out, want = append(out, w), nil
		}
	}
	if want != nil {
		out = append(out, *want)
	}
	return out
}

// eachEnsemble visits the StatefulSets whose claim has the name, which is the template's, the set's and a number.
func (e *Engine) eachEnsemble(ns, claim string, visit func(key)) {
	for rest := claim; ; {
		_, after, more := strings.Cut(rest, "-")
		if !more {
			return
		}
		if k, ok := e.ensembleKey(ns, after); ok {
			visit(k)
		}
		rest = after
	}
}
