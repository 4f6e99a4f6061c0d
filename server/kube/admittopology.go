package kube

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/peapod-sh/peapod/api"
)

// topologyRule gives a pod that is made for a node the labels that say where the node is. Others get them when they are bound.
type topologyRule struct{ state }

func (r topologyRule) mutate(_ context.Context, at admission.Attributes) error {
	if p := created[corev1.Pod](at, podsResource); p != nil && p.Spec.NodeName != "" {
		r.copyTopology(p, p.Spec.NodeName)
	}
	return nil
}

// copyTopology puts the node's labels over the pod's. A node that is not there gives none.
func (s state) copyTopology(p *corev1.Pod, node string) {
	if n, ok := s.Object(nodesResource, "", node).(*corev1.Node); ok {
		p.Labels = api.WithLabels(p.Labels, api.TopologyLabels(n))
	}
}
