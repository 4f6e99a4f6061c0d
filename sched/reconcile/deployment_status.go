package reconcile

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of condition Progressing.
const (
	reasonComplete = "NewReplicaSetAvailable"
	reasonUpdated  = "ReplicaSetUpdated"
	reasonTimedOut = "ProgressDeadlineExceeded"
	reasonPaused   = "DeploymentPaused"
	reasonResumed  = "DeploymentResumed"
)

func (r *rollout) hasDeadline() bool {
	s := r.d.Spec.ProgressDeadlineSeconds
	return s != nil && *s != 1<<31-1
}

func (r *rollout) condition(t appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range r.d.Status.Conditions {
		if r.d.Status.Conditions[i].Type == t {
			return &r.d.Status.Conditions[i]
		}
	}
	return nil
}

// setCondition replaces a condition whose status or reason is another one; its transition time
// stays while the status does. What has changed last stands last, as kubectl's users know it.
func (r *rollout) setCondition(t appsv1.DeploymentConditionType, s corev1.ConditionStatus, reason, message string) {
	old := r.condition(t)
	if old != nil && old.Status == s && old.Reason == reason {
		return
	}
	r.replaceCondition(t, s, reason, message)
}

func (r *rollout) replaceCondition(t appsv1.DeploymentConditionType, s corev1.ConditionStatus, reason, message string) {
	now := metav1.NewTime(r.e.now.Truncate(time.Second))
	c := appsv1.DeploymentCondition{Type: t, Status: s, Reason: reason, Message: message, LastUpdateTime: now, LastTransitionTime: now}
	if old := r.condition(t); old != nil && old.Status == s {
		c.LastTransitionTime = old.LastTransitionTime
	}
	others := slices.DeleteFunc(slices.Clone(r.d.Status.Conditions), func(c appsv1.DeploymentCondition) bool { return c.Type == t })
	r.d.Status.Conditions = append(others, c)
}

// notePause keeps the deadline's clock still while the deployment is paused.
func (r *rollout) notePause() {
	c := r.condition(appsv1.DeploymentProgressing)
	if !r.hasDeadline() || c != nil && c.Reason == reasonTimedOut {
		return
	}
	switch paused := c != nil && c.Reason == reasonPaused; {
	case r.d.Spec.Paused && !paused:
		r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonPaused, "Deployment is paused")
	case !r.d.Spec.Paused && paused:
		r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonResumed, "Deployment is resumed")
	}
}

// report brings the status up to date. It counts what has been observed, not what was decided in
// this step.
func (r *rollout) report() {
	s := &r.d.Status
	s.ObservedGeneration = r.d.Generation
	s.Replicas, s.ReadyReplicas = sum(r.members, activeOf), sum(r.members, readyOf)
	s.AvailableReplicas = sum(r.members, availableOf)
	s.UpdatedReplicas = 0
	if r.current != nil {
		s.UpdatedReplicas = activeOf(r.current)
	}
	s.UnavailableReplicas = max(0, sum(r.members, specOf)-s.AvailableReplicas)
	terminating := sum(r.members, func(m *member) int32 { return int32(m.pods.terminating) })
	s.TerminatingReplicas = &terminating
	r.reportAvailable()
	r.reportFailure()
	if !r.d.Spec.Paused && r.d.DeletionTimestamp == nil {
		r.reportProgress()
	}
	r.wakeForMinReady()
}

func (r *rollout) reportAvailable() {
	_, unavailable := r.bounds()
	if r.d.Status.AvailableReplicas >= r.replicas()-unavailable {
		r.setCondition(appsv1.DeploymentAvailable, corev1.ConditionTrue, "MinimumReplicasAvailable", "Deployment has minimum availability.")
		return
	}
	r.setCondition(appsv1.DeploymentAvailable, corev1.ConditionFalse, "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
}

// complete says whether every pod is of today's template and available, and none else is left.
func (r *rollout) complete() bool {
	n := r.replicas()
	return r.current != nil && r.current.o != nil && activeOf(r.current) == n && availableOf(r.current) == n &&
		sum(r.members, activeOf) == n && sum(r.members, specOf) == n
}

// progressed says whether the new status is better than the reported one.
func (r *rollout) progressed() bool {
	a, b := &r.old.Status, &r.d.Status
	return b.UpdatedReplicas > a.UpdatedReplicas || b.ReadyReplicas > a.ReadyReplicas ||
		b.AvailableReplicas > a.AvailableReplicas || b.Replicas-b.UpdatedReplicas < a.Replicas-a.UpdatedReplicas
}

func (r *rollout) reportProgress() {
	if !r.hasDeadline() {
		r.d.Status.Conditions = slices.DeleteFunc(r.d.Status.Conditions, func(c appsv1.DeploymentCondition) bool {
			return c.Type == appsv1.DeploymentProgressing
		})
		return
	}
	c := r.condition(appsv1.DeploymentProgressing)
	if c != nil && c.Reason == reasonComplete && r.d.Status.Replicas == r.d.Status.UpdatedReplicas &&
		r.old.Generation == r.old.Status.ObservedGeneration {
		return // a finished rollout stays finished, whatever its pods do later
	}
	what := fmt.Sprintf("Deployment %q", r.d.Name)
	if r.current != nil {
		what = fmt.Sprintf("ReplicaSet %q", r.current.rs.Name)
	}
	switch {
	case r.complete():
		r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonComplete, what+" has successfully progressed.")
	case r.progressed():
		r.replaceCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonUpdated, what+" is progressing.")
	case r.timedOut():
		r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonTimedOut, what+" has timed out progressing.")
	}
	r.wakeForDeadline()
}

// deadline is when the rollout counts as stuck; zero if nothing is expected.
func (r *rollout) deadline() time.Time {
	c := r.condition(appsv1.DeploymentProgressing)
	if c == nil || !r.hasDeadline() || c.Reason == reasonComplete || c.Reason == reasonTimedOut || c.Reason == reasonPaused {
		return time.Time{}
	}
	return c.LastUpdateTime.Add(time.Duration(*r.d.Spec.ProgressDeadlineSeconds) * time.Second)
}

func (r *rollout) timedOut() bool {
	d := r.deadline()
	return !d.IsZero() && !r.e.now.Before(d)
}

func (r *rollout) wakeForDeadline() {
	if d := r.deadline(); !d.IsZero() {
		r.e.wake(key{area: areaDeployment, ns: r.d.Namespace, name: r.d.Name}, d)
	}
}

// wakeForMinReady comes back when a pod will have been ready for long enough. It may replace the
// deadline's timer: whoever is woken sets it again.
func (r *rollout) wakeForMinReady() {
	for _, m := range r.members {
		_, next := r.e.available(m.pods, m.rs.Spec.MinReadySeconds)
		if d := r.deadline(); !next.IsZero() && (d.IsZero() || next.Before(d)) {
			r.e.wake(key{area: areaDeployment, ns: r.d.Namespace, name: r.d.Name}, next)
		}
	}
}
