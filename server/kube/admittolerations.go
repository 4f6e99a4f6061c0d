package kube

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
)

// deadNodeSeconds is for how long a pod that says nothing else tolerates a node that does not work. It is what Kubernetes writes,
// and what tools expect to read; who is replaced when is decided in another way: docs/design/011-tolerations-of-dead-nodes.md.
const deadNodeSeconds = 300

// tolerationRule gives pods their tolerations of nodes that do not work.
type tolerationRule struct{}

func (tolerationRule) mutate(_ context.Context, at admission.Attributes) error {
	p := created[corev1.Pod](at, podsResource)
	if p == nil {
		p, _ = updated[corev1.Pod](at, podsResource)
	}
	if p != nil {
		tolerateDeadNodes(p)
	}
	return nil
}

func tolerateDeadNodes(p *corev1.Pod) {
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		said := slices.ContainsFunc(p.Spec.Tolerations, func(t corev1.Toleration) bool {
			return (t.Key == key || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "")
		})
		if !said {
			seconds := int64(deadNodeSeconds)
			p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{
				Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds})
		}
	}
}
