package api

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A DaemonSet's pod may only run on the one node that it was made for, and says so in its node affinity. Written out, the pods of a set
// would have a template each. So a template may leave the name empty, which no user can write: it then reads as the node that the pod is on.

// PinTo makes a pod's node affinity require the node of the name and nothing else; "" is the node that the pod is on, and is only for
// templates of pods that have one.
func PinTo(spec *corev1.PodSpec, node string) {
	a, na := &corev1.Affinity{}, &corev1.NodeAffinity{}
	if spec.Affinity != nil {
		*a = *spec.Affinity
	}
	if a.NodeAffinity != nil {
		*na = *a.NodeAffinity
	}
	na.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchFields: []corev1.NodeSelectorRequirement{{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
	}}}
	a.NodeAffinity = na
	spec.Affinity = a
}

// PinnedTo is the only node that a pod's affinity allows; ok is false if it allows several.
func PinnedTo(spec *corev1.PodSpec) (node string, ok bool) {
	if spec.Affinity == nil || spec.Affinity.NodeAffinity == nil || spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return "", false
	}
	terms := spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	if len(terms) != 1 || len(terms[0].MatchExpressions) != 0 || len(terms[0].MatchFields) != 1 {
		return "", false
	}
	f := &terms[0].MatchFields[0]
	if f.Key != metav1.ObjectNameField || f.Operator != corev1.NodeSelectorOpIn || len(f.Values) != 1 {
		return "", false
	}
	return f.Values[0], true
}

// pinsToOwn says whether pods of the template are pinned to the node that they are on, whichever that is.
func (t *PodTemplate) pinsToOwn() bool {
	node, ok := PinnedTo(&t.Pod.Spec)
	return ok && node == ""
}
