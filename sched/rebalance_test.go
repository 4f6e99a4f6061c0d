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
	"github.com/peapod-sh/peapod/api/podstatus"
)

func evenNode(name string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("110")}
	return n
}

func ownedTemplate(t interface{ Fatal(...any) }, owner, cpu string) *api.PodTemplate {
	yes := true
	out, err := api.NewPodTemplate(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", OwnerReferences: []metav1.OwnerReference{{UID: types.UID(owner), Controller: &yes, Kind: "ReplicaSet"}}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("64Mi")}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// herdOn puts n pods of an owner on a node.
func herdOn(table *Table, template *api.PodTemplate, owner, node string, n int) (out []Movable) {
	for i := range n {
		p := Movable{UID: types.UID(fmt.Sprintf("%s-%s-%d", owner, node, i)), Template: template}
		table.AddPod(p.UID, node, template, podstatus.Status{})
		out = append(out, p)
	}
	return out
}

func TestRebalanceAfterANodeJoined(t *testing.T) {
	table := NewTable(1, "")
	table.SetNode(evenNode("old"))
	pods := herdOn(table, ownedTemplate(t, "a", "500m"), "a", "old", 4)
	pods = append(pods, herdOn(table, ownedTemplate(t, "b", "500m"), "b", "old", 2)...)
	if moves := table.Rebalance(pods, 100); len(moves) != 0 {
		t.Fatalf("with nowhere to go: %+v", moves)
	}
	table.SetNode(evenNode("new"))
	moves := table.Rebalance(pods, 100)
	if len(moves) != 3 {
		t.Fatalf("%+v", moves)
	}
	by := map[types.UID]int{}
	for _, m := range moves {
		if m.From != "old" || m.To != "new" || m.Reason == "" {
			t.Errorf("%+v", m)
		}
		by[m.UID[:1]]++
	}
	if full := table.Fullness(); by["a"] != 2 || by["b"] != 1 || full["old"] != full["new"] {
		t.Errorf("%v moved, %v", by, full)
	}
	if again := table.Rebalance(pods, 100); len(again) != 0 {
		t.Errorf("it is never done: %+v", again)
	}
}

func TestRebalanceObeysLimits(t *testing.T) {
	table := NewTable(1, "")
	table.SetNode(evenNode("old"))
	pods := herdOn(table, ownedTemplate(t, "a", "100m"), "a", "old", 10)
	fresh := evenNode("new")
	fresh.Spec.Unschedulable = true
	table.SetNode(fresh)
	if moves := table.Rebalance(pods, 100); len(moves) != 0 {
		t.Errorf("to a node that takes none: %+v", moves)
	}
	table.SetNode(evenNode("new"))
	if moves := table.Rebalance(pods[:3], 100); len(moves) != 3 {
		t.Errorf("three may move: %+v", moves)
	}
	if moves := table.Rebalance(pods[3:], 1); len(moves) != 1 {
		t.Errorf("one is asked for: %+v", moves)
	}
}

// TestRebalanceImproves: whatever the cluster, no node is fuller afterwards than the fullest was, none is over capacity, and a second
// plan after the first has little left to do.
func TestRebalanceImproves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := NewTable(rapid.Uint64().Draw(t, "seed"), "")
		var names []string
		for i := range rapid.IntRange(1, 5).Draw(t, "nodes") {
			names = append(names, fmt.Sprint("n", i))
			table.SetNode(evenNode(names[i]))
		}
		var pods []Movable
		for o := range rapid.IntRange(1, 4).Draw(t, "owners") {
			template := ownedTemplate(t, fmt.Sprint("o", o), fmt.Sprintf("%dm", rapid.IntRange(50, 300).Draw(t, "cpu")))
			for _, n := range names {
				pods = append(pods, herdOn(table, template, fmt.Sprint("o", o), n, rapid.IntRange(0, 3).Draw(t, "pods"))...)
			}
		}
		worst := int64(0)
		for _, f := range table.Fullness() {
			worst = max(worst, f)
		}
		moves := table.Rebalance(pods, 1000)
		seen := map[types.UID]bool{}
		for _, m := range moves {
			if seen[m.UID] || m.From == m.To {
				t.Fatalf("%+v", moves)
			}
			seen[m.UID] = true
		}
		for n, f := range table.Fullness() {
			if f > worst {
				t.Fatalf("%s is at %d, the fullest was at %d: %+v", n, f, worst, moves)
			}
		}
		if len(table.pods) != len(pods) {
			t.Fatalf("%d pods are left of %d", len(table.pods), len(pods))
		}
	})
}

// TestRebalanceSpreadsLightPods: pods of one owner are spread also where what they request makes no difference.
func TestRebalanceSpreadsLightPods(t *testing.T) {
	table := NewTable(1, "")
	for _, n := range []string{"a", "b", "c"} {
		table.SetNode(evenNode(n))
	}
	moves := table.Rebalance(herdOn(table, ownedTemplate(t, "o", "1m"), "o", "a", 6), 100)
	to := map[string]int{}
	for _, m := range moves {
		to[m.To]++
	}
	if to["b"] != 2 || to["c"] != 2 {
		t.Errorf("%+v", moves)
	}
}
