package sched

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api"
)

func testNode(name, cpu string, taints ...corev1.Taint) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Labels: map[string]string{"name": name}}}
	n.Spec.Taints = taints
	n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu),
		corev1.ResourceMemory: resource.MustParse("64Gi"), corev1.ResourcePods: resource.MustParse("250")}
	return n
}

func testTemplate(t interface{ Fatal(...any) }, cpu string, change func(*corev1.Pod)) *api.PodTemplate {
	yes := true
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", OwnerReferences: []metav1.OwnerReference{{UID: "owner", Controller: &yes}}}}
	p.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}}}
	if change != nil {
		change(p)
	}
	pt, err := api.NewPodTemplate(p)
	if err != nil {
		t.Fatal(err)
	}
	return pt
}

func uids(n int) []types.UID {
	out := make([]types.UID, n)
	for i := range out {
		out[i] = types.UID(fmt.Sprint("pod-", i))
	}
	return out
}

func TestReasonsInKubernetesWords(t *testing.T) {
	table := NewTable(1, "")
	for i := range 3 {
		table.SetNode(testNode(fmt.Sprint("t", i), "4", corev1.Taint{Key: "k", Value: "v", Effect: corev1.TaintEffectNoSchedule}))
	}
	table.SetNode(testNode("a", "1"))
	table.SetNode(testNode("b", "1"))
	d := table.Place(Group{Template: testTemplate(t, "2", nil), UIDs: uids(1)})
	if want := "0/5 nodes are available: 2 Insufficient cpu, 3 node(s) had untolerated taint(s)."; d.Reason != want || d.Placed != 0 {
		t.Fatalf("%q, not %q", d.Reason, want)
	}
	if got := NewTable(1, "").Place(Group{Template: testTemplate(t, "2", nil), UIDs: uids(1)}).Reason; got != "no nodes available to schedule pods" {
		t.Fatal(got)
	}
}

func TestFilters(t *testing.T) {
	unschedulable := testNode("n", "4")
	unschedulable.Spec.Unschedulable = true
	port := func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80, ContainerPort: 80}}
	}
	for _, c := range []struct {
		name   string
		node   *corev1.Node
		change func(*corev1.Pod)
		n      int
		placed int
		reason string
	}{
		{"unschedulable", unschedulable, nil, 1, 0, "0/1 nodes are available: 1 node(s) were unschedulable."},
		{"selector", testNode("n", "4"), func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"a": "b"} }, 1, 0,
			"0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."},
		{"host port", testNode("n", "4"), port, 2, 1, "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."},
		{"extended", testNode("n", "4"), func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests["example.com/gpu"] = resource.MustParse("1")
		}, 1, 0, "0/1 nodes are available: 1 Insufficient example.com/gpu."},
		{"toleration", testNode("n", "4", corev1.Taint{Key: "k", Effect: corev1.TaintEffectNoExecute}), func(p *corev1.Pod) {
			p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
		}, 1, 1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := NewTable(1, "")
			table.SetNode(c.node)
			d := table.Place(Group{Template: testTemplate(t, "1", c.change), UIDs: uids(c.n)})
			if d.Placed != c.placed || d.Reason != c.reason {
				t.Fatalf("placed %d: %q", d.Placed, d.Reason)
			}
		})
	}
}

// TestPlaceIsGreedyAndFits compares the heap with a full scan a pod, and holds nodes to their room.
// Invariant 30.
func TestPlaceIsGreedyAndFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := NewTable(9, ""), NewTable(9, "")
		for i := range rapid.IntRange(1, 12).Draw(t, "nodes") {
			n := testNode(fmt.Sprint("n", i), fmt.Sprint(rapid.IntRange(1, 8).Draw(t, "cpu")))
			a.SetNode(n)
			b.SetNode(n)
		}
		template := testTemplate(t, fmt.Sprintf("%dm", rapid.IntRange(50, 1500).Draw(t, "milli")), nil)
		all := uids(rapid.IntRange(1, 60).Draw(t, "pods"))
		whole := a.Place(Group{Template: template, UIDs: all})
		for i, uid := range all {
			if one := b.Place(Group{Template: template, UIDs: []types.UID{uid}}); one.Nodes[0] != whole.Nodes[i] {
				t.Fatalf("pod %d goes to %q in a group and to %q alone", i, whole.Nodes[i], one.Nodes[0])
			}
		}
		for i := range a.nodes {
			if a.rows[i].cpuMilli < 0 {
				t.Fatalf("node %s is over its cpu", a.names[i])
			}
		}
		for _, uid := range all {
			a.RemovePod(uid)
		}
		for i := range a.nodes {
			if r := a.rows[i]; r.cpuMilli != a.alloc[i].cpuMilli || r.loadCPU != r.cpuMilli || r.loadMemory != a.alloc[i].memory {
				t.Fatalf("node %s keeps %+v", a.names[i], r)
			}
		}
	})
}

func BenchmarkPlace10000On100(b *testing.B) {
	template, all := testTemplate(b, "10m", nil), uids(10000)
	for b.Loop() {
		b.StopTimer()
		table := NewTable(1, "")
		for i := range 100 {
			table.SetNode(testNode(fmt.Sprint("n", i), "64"))
		}
		b.StartTimer()
		if d := table.Place(Group{Template: template, UIDs: all}); d.Placed != len(all) {
			b.Fatal(d.Reason)
		}
	}
}
