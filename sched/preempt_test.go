package sched

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api/podstatus"
)

func withPriority(n int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Priority = &n }
}

// crowd is a table and the pods that run there, as a caller of Preempt has them.
type crowd struct {
	*Table
	on map[string][]Resident
}

func newCrowd(nodes ...*corev1.Node) *crowd {
	c := &crowd{NewTable(1, ""), map[string][]Resident{}}
	for _, n := range nodes {
		c.SetNode(n)
	}
	return c
}

func (c *crowd) add(t interface{ Fatal(...any) }, uid, node, cpu string, priority int32, started int64, budgets ...int) {
	c.AddPod(types.UID(uid), node, testTemplate(t, cpu, withPriority(priority)), podstatus.Status{})
	c.on[node] = append(c.on[node], Resident{UID: types.UID(uid), Started: started, Budgets: budgets})
}

func (c *crowd) residents(node string) []Resident { return c.on[node] }

// TestCandidates: each row differs in one thing, in the order in which Kubernetes compares.
func TestCandidates(t *testing.T) {
	type pod struct {
		cpu      string
		priority int32
		started  int64
		budgets  []int
	}
	for _, c := range []struct {
		name    string
		a, b    []pod
		node    string
		victims int
	}{
		{"a violated budget counts before priorities", []pod{{"4", 1, 0, []int{0}}}, []pod{{"4", 5, 0, nil}}, "b", 1},
		{"a budget that allows it does not", []pod{{"4", 1, 0, []int{1}}}, []pod{{"4", 5, 0, nil}}, "a", 1},
		{"the least important victim", []pod{{"4", 2, 0, nil}}, []pod{{"2", 1, 0, nil}, {"2", 1, 0, nil}}, "b", 2},
		{"the smaller sum", []pod{{"2", 2, 0, nil}, {"2", 2, 0, nil}}, []pod{{"2", 2, 0, nil}, {"2", 1, 0, nil}}, "b", 2},
		{"fewer victims", []pod{{"2", 2, 0, nil}, {"2", 2, 0, nil}}, []pod{{"4", 2, 0, nil}}, "b", 1},
		{"the one that came last", []pod{{"4", 2, 10, nil}}, []pod{{"4", 2, 20, nil}}, "b", 1},
		{"only who has to go", []pod{{"1", 1, 0, nil}, {"3", 2, 0, nil}}, []pod{{"4", 10, 0, nil}}, "a", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newCrowd(testNode("a", "4"), testNode("b", "4"))
			for name, pods := range map[string][]pod{"a": c.a, "b": c.b} {
				for i, p := range pods {
					w.add(t, fmt.Sprint(name, i), name, p.cpu, p.priority, p.started, p.budgets...)
				}
			}
			cpu := "4"
			if c.name == "only who has to go" {
				cpu = "2"
			}
			got, why := w.Preempt(Preemption{Group: Group{Template: testTemplate(t, cpu, withPriority(10)), UIDs: uids(1)},
				Residents: w.residents, Allowed: []int32{0, 1}})
			if got[0].Node != c.node || len(got[0].Victims) != c.victims {
				t.Fatalf("%+v: %s", got, why)
			}
			if w.NodeOf("pod-0") != c.node {
				t.Fatal("the room is not kept")
			}
		})
	}
}

func TestPreemptionReasons(t *testing.T) {
	w := newCrowd(testNode("a", "4"), testNode("b", "4"), testNode("small", "1"), testNode("t", "4", corev1.Taint{Key: "k", Effect: corev1.TaintEffectNoSchedule}))
	w.add(t, "x", "a", "3", 5, 0)
	w.add(t, "y", "b", "3", 10, 0)
	ask := func(priority int32, change func(*corev1.Pod)) string {
		template := testTemplate(t, "2", func(p *corev1.Pod) {
			withPriority(priority)(p)
			if change != nil {
				change(p)
			}
		})
		_, why := w.Preempt(Preemption{Group: Group{Template: template, UIDs: uids(1)}, Residents: w.residents})
		return why
	}
	if got := ask(5, nil); got != "preemption: 0/4 nodes are available: 2 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling." {
		t.Error(got)
	}
	if got := ask(9, func(p *corev1.Pod) { p.Spec.PreemptionPolicy = new(corev1.PreemptNever) }); got != "preemption: not eligible due to preemptionPolicy=Never." {
		t.Error(got)
	}
	if got := ask(9, nil); got != "" || w.NodeOf("pod-0") != "a" {
		t.Error(got)
	}
}

// TestPreemptionTakesTheLeast: no victim matters as much as the group, none could stay, nobody is a victim twice, and when the victims
// have gone every nominated pod has its room. Invariant 88.
func TestPreemptionTakesTheLeast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newCrowd()
		for i := range rapid.IntRange(1, 5).Draw(t, "nodes") {
			n := testNode(fmt.Sprint("n", i), "8")
			n.Labels["zone"] = fmt.Sprint(i % 2)
			w.SetNode(n)
		}
		for i := range rapid.IntRange(0, 30).Draw(t, "pods") {
			uid := types.UID(fmt.Sprint("old-", i))
			template := testTemplate(t, fmt.Sprint(rapid.IntRange(1, 4).Draw(t, "cpu")), withPriority(int32(rapid.IntRange(0, 3).Draw(t, "priority"))))
			d := w.Place(Group{Template: template, UIDs: []types.UID{uid}})
			if d.Nodes[0] == "" {
				continue
			}
			r := Resident{UID: uid, Started: int64(rapid.IntRange(0, 3).Draw(t, "started"))}
			if rapid.Bool().Draw(t, "guarded") {
				r.Budgets = []int{0}
			}
			w.on[d.Nodes[0]] = append(w.on[d.Nodes[0]], r)
		}
		priority := int32(rapid.IntRange(0, 4).Draw(t, "priority"))
		template := testTemplate(t, fmt.Sprint(rapid.IntRange(1, 8).Draw(t, "cpu")), func(p *corev1.Pod) {
			withPriority(priority)(p)
			p.Labels = map[string]string{"app": "new"}
			switch rapid.IntRange(0, 2).Draw(t, "wish") {
			case 0:
				hostApart(p)
				p.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].TopologyKey = "name"
			case 1:
				zoneSpread(p)
				p.Spec.TopologySpreadConstraints[0].TopologyKey = "zone"
			}
		})
		all := uids(rapid.IntRange(1, 6).Draw(t, "group"))
		g := Group{Template: template, UIDs: all}
		placed := w.Place(g).Placed
		g.UIDs = all[placed:]
		before := slices.Clone(w.rows)
		allowed := []int32{int32(rapid.IntRange(0, 3).Draw(t, "allowed"))}
		list, _ := w.Preempt(Preemption{Group: g, Residents: w.residents, Allowed: allowed})
		gone := map[types.UID]bool{}
		nominated := 0
		c := classOf(template)
		for k, n := range list {
			if n.Node == "" {
				continue
			}
			nominated++
			before[w.byName[n.Node]].add(c, 1)
			for _, v := range n.Victims {
				if w.pods[v].class.priority >= priority || gone[v] || w.NodeOf(v) != n.Node {
					t.Fatalf("%s is no victim for %s", v, g.UIDs[k])
				}
				gone[v] = true
			}
		}
		if !slices.Equal(before, w.rows) {
			t.Fatal("victims have lost their room already, or what was thought stays")
		}
		for v := range gone {
			w.RemovePod(v)
		}
		for _, n := range list {
			if i, known := w.byName[n.Node]; known && w.rows[i].cpuMilli < 0 {
				t.Fatalf("node %s is overfull", n.Node)
			}
		}
		for _, uid := range g.UIDs {
			w.RemovePod(uid)
		}
		if d := w.Place(Group{Template: template, UIDs: g.UIDs[:nominated]}); d.Placed != nominated {
			t.Fatalf("%d of %d nominated pods find room: %s", d.Placed, nominated, d.Reason)
		}
	})
}

// TestNobodyGoesInVain: with any one victim back, the pod that they go for has no room. Invariant 88.
func TestNobodyGoesInVain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newCrowd()
		for i := range rapid.IntRange(1, 3).Draw(t, "nodes") {
			w.SetNode(testNode(fmt.Sprint("n", i), "8"))
		}
		for i := range rapid.IntRange(4, 20).Draw(t, "pods") {
			node := fmt.Sprint("n", rapid.IntRange(0, w.Nodes()-1).Draw(t, "node"))
			if cpu := rapid.IntRange(1, 4).Draw(t, "cpu"); w.rows[w.byName[node]].cpuMilli >= int64(cpu)*1000 {
				w.add(t, fmt.Sprint("old-", i), node, fmt.Sprint(cpu), int32(rapid.IntRange(0, 3).Draw(t, "priority")), 0, rapid.IntRange(0, 1).Draw(t, "budget"))
			}
		}
		template := testTemplate(t, fmt.Sprint(rapid.IntRange(1, 8).Draw(t, "cpu")), withPriority(2))
		if w.Place(Group{Template: template, UIDs: uids(1)}).Placed == 1 {
			return
		}
		list, _ := w.Preempt(Preemption{Group: Group{Template: template, UIDs: uids(1)}, Residents: w.residents, Allowed: []int32{0, 1}})
		w.RemovePod("pod-0")
		if list[0].Node == "" {
			return
		}
		r, c := &w.rows[w.byName[list[0].Node]], classOf(template)
		for _, v := range list[0].Victims {
			r.add(w.pods[v].class, -1)
		}
		for _, v := range list[0].Victims {
			if r.add(w.pods[v].class, 1); r.takes(c) {
				t.Fatalf("%s goes in vain", v)
			}
			r.add(w.pods[v].class, -1)
		}
		if !r.takes(c) {
			t.Fatal("they go in vain")
		}
	})
}
