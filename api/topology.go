package api

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
)

// copiedLabels are the labels of a node that its pods get, so that a pod knows where it runs (KEP-4742).
var copiedLabels = []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion}

// TopologyLabels are the labels of a node that its pods get; nil if it has none of them.
func TopologyLabels(n *corev1.Node) (out map[string]string) {
	for _, k := range copiedLabels {
		if v, ok := n.Labels[k]; ok {
			if out == nil {
				out = map[string]string{}
			}
			out[k] = v
		}
	}
	return out
}

// WithLabels is a pod's labels with others on top, as a new map; it is the same map if nothing would change.
func WithLabels(labels, more map[string]string) map[string]string {
	for k, v := range more {
		if have, ok := labels[k]; !ok || have != v {
			out := maps.Clone(labels)
			if out == nil {
				out = map[string]string{}
			}
			maps.Copy(out, more)
			return out
		}
	}
	return labels
}
