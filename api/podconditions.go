package api

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PodCondition finds a condition of a status; nil if it is not there.
func PodCondition(status *corev1.PodStatus, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range status.Conditions {
		if status.Conditions[i].Type == t {
			return &status.Conditions[i]
		}
	}
	return nil
}

// PodReady says whether the pod may serve traffic: its condition Ready is True.
func PodReady(status *corev1.PodStatus) bool {
	c := PodCondition(status, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// SetPodCondition adds or replaces the condition of c's type, in place, and says whether anything
// changed. The time of the last transition stays unless the condition's status changed; a zero
// time in c on a transition is taken as now by the caller beforehand.
func SetPodCondition(status *corev1.PodStatus, c corev1.PodCondition) bool {
	old := PodCondition(status, c.Type)
	if old == nil {
		status.Conditions = append(status.Conditions, c)
		return true
	}
	if old.Status == c.Status {
		c.LastTransitionTime = old.LastTransitionTime
	}
	if sameCondition(old, &c) {
		return false
	}
	*old = c
	return true
}

func sameCondition(a, b *corev1.PodCondition) bool {
	return a.Status == b.Status && a.Reason == b.Reason && a.Message == b.Message &&
		a.ObservedGeneration == b.ObservedGeneration &&
		sameTime(a.LastTransitionTime, b.LastTransitionTime) && sameTime(a.LastProbeTime, b.LastProbeTime)
}

func sameTime(a, b metav1.Time) bool { return a.Equal(&b) }
