package api

import (
	"fmt"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var budgetResource = policyv1.SchemeGroupVersion.WithResource("poddisruptionbudgets").GroupResource()

// disruptedPodsMax bounds the evictions of a budget that its controller has not seen yet.
const disruptedPodsMax = 2000

// SpendDisruption is the budget once the pod is evicted, or why it must not be evicted. It leaves b as it is.
func SpendDisruption(b *policyv1.PodDisruptionBudget, pod string, now time.Time) (*policyv1.PodDisruptionBudget, error) {
	s := &b.Status
	switch {
	case s.ObservedGeneration < b.Generation:
		return nil, tooDisruptive(1, "The disruption budget %s is still being processed by the server.", b.Name)
	case s.DisruptionsAllowed < 0:
		return nil, apierrors.NewForbidden(budgetResource, b.Name, fmt.Errorf("pdb disruptions allowed is negative"))
	case len(s.DisruptedPods) > disruptedPodsMax:
		return nil, apierrors.NewForbidden(budgetResource, b.Name, fmt.Errorf("DisruptedPods map too big - too many evictions not confirmed by PDB controller"))
	case s.DisruptionsAllowed == 0:
		if c := meta.FindStatusCondition(s.Conditions, policyv1.DisruptionAllowedCondition); c != nil && c.Reason == policyv1.SyncFailedReason {
			return nil, tooDisruptive(0, "The disruption budget %s does not allow evicting pods currently because it failed sync: %v", b.Name, c.Message)
		}
		return nil, tooDisruptive(0, "The disruption budget %s needs %d healthy pods and has %d currently", b.Name, s.DesiredHealthy, s.CurrentHealthy)
	}
	next := b.DeepCopy()
	if next.Status.DisruptionsAllowed--; next.Status.DisruptionsAllowed == 0 {
		meta.SetStatusCondition(&next.Status.Conditions, metav1.Condition{Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse,
			Reason: policyv1.InsufficientPodsReason, ObservedGeneration: s.ObservedGeneration, LastTransitionTime: metav1.NewTime(now.Truncate(time.Second))})
	}
	if next.Status.DisruptedPods == nil {
		next.Status.DisruptedPods = map[string]metav1.Time{}
	}
	next.Status.DisruptedPods[pod] = metav1.NewTime(now.Truncate(time.Second))
	return next, nil
}

// tooDisruptive is the answer that clients try again after. A time makes their library do so; without one they choose it themselves:
// kubectl drain takes 5 s.
func tooDisruptive(retrySeconds int, format string, args ...any) error {
	err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", retrySeconds)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type: policyv1.DisruptionBudgetCause, Message: fmt.Sprintf(format, args...)})
	return err
}
