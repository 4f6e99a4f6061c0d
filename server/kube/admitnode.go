package kube

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
)

// nodeRule marks new nodes as not ready, so that nothing is placed on them before the node's controller has looked at their
// conditions, as it does for those that agents register.
type nodeRule struct{}

func (nodeRule) mutate(_ context.Context, at admission.Attributes) error {
	n := created[corev1.Node](at, nodesResource)
	if n == nil {
		return nil
	}
	taint := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
	if !slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.MatchTaint(&taint) }) {
		n.Spec.Taints = append(n.Spec.Taints, taint)
	}
	return nil
}
