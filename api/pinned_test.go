package api

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestPinnedPods(t *testing.T) {
	weighted := []corev1.PreferredSchedulingTerm{{Weight: 3}}
	spec := corev1.PodSpec{Affinity: &corev1.Affinity{
		NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: weighted,
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: make([]corev1.NodeSelectorTerm, 2)}},
		PodAntiAffinity: &corev1.PodAntiAffinity{},
	}}
	before := spec.Affinity
	if node, ok := PinnedTo(&spec); ok {
		t.Fatalf("terms of a user's own pin to %q", node)
	}
	PinTo(&spec, "n1")
	if node, ok := PinnedTo(&spec); !ok || node != "n1" || spec.Affinity.PodAntiAffinity == nil ||
		len(spec.Affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) != 1 {
		t.Fatalf("pinned to %q %v: %+v", node, ok, spec.Affinity)
	}
	if terms := before.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms; len(terms) != 2 {
		t.Fatalf("the template's own terms are now %v", terms)
	}
	PinTo(&spec, "")
	template, err := NewPodTemplate(&corev1.Pod{Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"n1", "n2"} {
		r := &PodRecord{Template: template, Node: name}
		if node, ok := PinnedTo(&r.Pod().Spec); !ok || node != name {
			t.Errorf("the pod on %s is pinned to %q", name, node)
		}
	}
	// What a template leaves open must not come in through the API.
	p := &corev1.Pod{Spec: corev1.PodSpec{Affinity: spec.Affinity}}
	for _, err := range KindFor(schema.GroupResource{Resource: "pods"}).Validate(p) {
		if strings.Contains(err.Field, "matchFields[0].values[0]") {
			return
		}
	}
	t.Error("an empty name of a node is accepted")
}
