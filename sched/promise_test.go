package sched

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api/podstatus"
)

// TestPromisesAreNobodysReason: a pod that still waits for others to go takes its room and keeps apart who must be, but no pod is put where it
// may only be because that one were there. Invariant 215.
func TestPromisesAreNobodysReason(t *testing.T) {
	labelled := func(change func(*corev1.Pod)) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Namespace, p.Labels = "default", map[string]string{"app": "a"}
			if change != nil {
				change(p)
			}
		}
	}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "a"}}
	near := []corev1.PodAffinityTerm{{LabelSelector: selector, TopologyKey: corev1.LabelHostname}}
	spread := labelled(func(p *corev1.Pod) {
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: corev1.LabelHostname,
			WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: selector}}
	})
	stranger := func(p *corev1.Pod) {
		p.Namespace, p.Spec.Affinity = "default", &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: near}}
	}
	twin := labelled(func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: near}}
	})
	apart := labelled(func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: near}}
	})
	for _, c := range []struct {
		name            string
		there, promised string // nodes of pods, one a letter
		change          func(*corev1.Pod)
		cpu, want       string
	}{
		{"the emptiest node is only promised a pod", "b", "a", spread, "1", ""},
		{"it has one", "ab", "", spread, "1", "b"},
		{"neither is its own node another one's", "b", "a", spread, "100m", ""},
		{"nobody is there", "", "a", spread, "100m", "b"},
		{"beside a promised pod", "", "a", stranger, "100m", ""},
		{"beside one that is there", "a", "", stranger, "100m", "a"},
		{"beside the one that is there", "b", "a", stranger, "100m", "b"},
		{"the first of its kind follows a promised one", "", "a", twin, "100m", "a"},
		{"apart from a promised one", "", "a", apart, "100m", "b"},
		{"room", "", "a", labelled(nil), "3500m", "b"},
	} {
		table := NewTable(1, LeastAllocated)
		for _, name := range []string{"a", "b"} {
			n := testNode(name, map[string]string{"a": "3800m", "b": "4"}[name])
			n.Labels = map[string]string{corev1.LabelHostname: name}
			table.SetNode(n)
		}
		others := testTemplate(t, "400m", labelled(nil))
		for i, node := range c.there {
			table.AddPod(types.UID(rune('1'+i)), string(node), others, podstatus.Status{})
		}
		for i, node := range c.promised {
			table.Promise(types.UID(rune('5'+i)), string(node), others, podstatus.Status{})
		}
		group := Group{Template: testTemplate(t, c.cpu, c.change), UIDs: uids(1)}
		if got := table.Place(group).Nodes[0]; got != c.want {
			t.Errorf("%s: placed on %q, want %q", c.name, got, c.want)
		}
	}
}
