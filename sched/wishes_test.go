package sched

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api/podstatus"
)

// town has two nodes in each of its zones: a1, a2, b1 and so on.
func town(zones string) *Table {
	t := NewTable(3, "")
	for _, z := range zones {
		for i := 1; i <= 2; i++ {
			n := testNode(fmt.Sprintf("%c%d", z, i), "16")
			n.Labels = map[string]string{"zone": string(z), "node": n.Name}
			t.SetNode(n)
		}
	}
	return t
}

// settle puts pods with the label app=foo on nodes, named as often as there are to be pods.
func settle(t *testing.T, table *Table, nodes string) {
	for i, node := range strings.Fields(nodes) {
		table.AddPod(types.UID(fmt.Sprint("old-", i)), node, testTemplate(t, "100m", func(p *corev1.Pod) { p.Labels = map[string]string{"app": "foo"} }), podstatus.Status{})
	}
}

func foo(change func(*corev1.Pod)) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Labels, p.OwnerReferences = map[string]string{"app": "foo", "version": "2"}, nil
		change(p)
	}
}

func constraint(key string, skew int32, change func(*corev1.TopologySpreadConstraint)) func(*corev1.Pod) {
	return foo(func(p *corev1.Pod) {
		s := corev1.TopologySpreadConstraint{TopologyKey: key, MaxSkew: skew, WhenUnsatisfiable: corev1.DoNotSchedule,
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "foo"}}}
		if change != nil {
			change(&s)
		}
		p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, s)
	})
}

// TestSpread has the examples of the enhancement proposals for topology spread, minDomains, inclusion policies and matchLabelKeys. The nodes are
// those on which one more pod may come.
func TestSpread(t *testing.T) {
	both := func(p *corev1.Pod) {
		constraint("zone", 1, nil)(p)
		constraint("node", 1, nil)(p)
	}
	for _, c := range []struct {
		name, zones, settled string
		change               func(*corev1.Pod)
		open                 string
	}{
		{"skew 1 over zones with 2 and 1", "ab", "a1 a2 b1", constraint("zone", 1, nil), "b1 b2"},
		{"skew 2 over the same", "ab", "a1 a2 b1", constraint("zone", 2, nil), "a1 a2 b1 b2"},
		{"skew 1 over nodes", "ab", "a1 a2 b1", constraint("node", 1, nil), "b2"},
		{"both", "ab", "a1 a2 b1", both, "b2"},
		{"zones that affinity excludes do not count", "ab", "a1 a2 b1 b2 a1 a2", func(p *corev1.Pod) {
			constraint("zone", 1, nil)(p)
			p.Spec.NodeSelector = map[string]string{"zone": "a"}
		}, "a1 a2"},
		{"nodes that affinity excludes count", "ab", "a1 a2 b1 b2 a1 a2", func(p *corev1.Pod) {
			constraint("zone", 1, func(s *corev1.TopologySpreadConstraint) {
				s.NodeAffinityPolicy = new(corev1.NodeInclusionPolicyIgnore)
			})(p)
			p.Spec.NodeSelector = map[string]string{"zone": "a"}
		}, ""},
		{"fewer domains than wanted", "ab", "a1 b1", constraint("zone", 1, func(s *corev1.TopologySpreadConstraint) { s.MinDomains = new(int32(3)) }), ""},
		{"as many as wanted", "abc", "a1 b1", constraint("zone", 1, func(s *corev1.TopologySpreadConstraint) { s.MinDomains = new(int32(3)) }), "c1 c2"},
		{"the version is its own", "ab", "a1 a2 b1", constraint("zone", 1, func(s *corev1.TopologySpreadConstraint) { s.MatchLabelKeys = []string{"version"} }), "a1 a2 b1 b2"},
		{"no selector chooses nobody", "ab", "a1 a2 b1", constraint("zone", 1, func(s *corev1.TopologySpreadConstraint) { s.LabelSelector = nil }), "a1 a2 b1 b2"},
		{"no node has the label", "ab", "", constraint("rack", 1, nil), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := town(c.zones)
			settle(t, table, c.settled)
			wantOpen(t, table, c.change, c.open)
		})
	}
}

// wantOpen asks every node, one at a time, whether it takes a pod.
func wantOpen(t *testing.T, table *Table, change func(*corev1.Pod), open string) {
	t.Helper()
	var got []string
	template := testTemplate(t, "100m", change)
	for _, name := range table.names {
		only := func(n *corev1.Node) string {
			if n.Name != name {
				return "another one is asked"
			}
			return ""
		}
		if table.Place(Group{Template: template, UIDs: uids(1), Fit: only}).Placed == 1 {
			got = append(got, name)
			table.RemovePod("pod-0")
		}
	}
	if s := strings.Join(got, " "); s != open {
		t.Errorf("open are %q, not %q", s, open)
	}
}

// TestTaintsInSpread: a domain whose nodes all have taints counts, unless taints are honoured.
func TestTaintsInSpread(t *testing.T) {
	for policy, open := range map[corev1.NodeInclusionPolicy]string{corev1.NodeInclusionPolicyIgnore: "", corev1.NodeInclusionPolicyHonor: "a1 a2"} {
		table := town("a")
		tainted := testNode("b1", "16", corev1.Taint{Key: "k", Effect: corev1.TaintEffectNoSchedule})
		tainted.Labels = map[string]string{"zone": "b"}
		table.SetNode(tainted)
		settle(t, table, "a1")
		wantOpen(t, table, constraint("zone", 1, func(s *corev1.TopologySpreadConstraint) { s.NodeTaintsPolicy = &policy }), open)
	}
}

func affinity(near bool, m corev1.PodAffinityTerm) func(*corev1.Pod) {
	return foo(func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{}
		if near {
			p.Spec.Affinity.PodAffinity = &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{m}}
		} else {
			p.Spec.Affinity.PodAntiAffinity = &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{m}}
		}
	})
}

func to(app, key string) corev1.PodAffinityTerm {
	return corev1.PodAffinityTerm{TopologyKey: key, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}}
}

func TestAffinity(t *testing.T) {
	other := to("foo", "zone")
	other.Namespaces = []string{"other"}
	sea := to("foo", "zone")
	sea.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "sea"}}
	mismatch := to("foo", "zone")
	mismatch.MismatchLabelKeys = []string{"version"}
	match := to("foo", "zone")
	match.MatchLabelKeys = []string{"version"}
	for _, c := range []struct {
		name, settled string
		change        func(*corev1.Pod)
		open          string
	}{
		{"near, by zone", "a1", affinity(true, to("foo", "zone")), "a1 a2"},
		{"near, by node", "a1", affinity(true, to("foo", "node")), "a1"},
		{"near nobody", "a1", affinity(true, to("bar", "zone")), ""},
		{"the first of its own", "", affinity(true, to("foo", "zone")), "a1 a2 b1 b2"},
		{"far, by zone", "a1", affinity(false, to("foo", "zone")), "b1 b2"},
		{"far, by node", "a1", affinity(false, to("foo", "node")), "a2 b1 b2"},
		{"far, where the label is missing", "a1", affinity(false, to("foo", "rack")), "a1 a2 b1 b2"},
		{"of another namespace", "a1", affinity(false, other), "a1 a2 b1 b2"},
		{"of namespaces with a label", "a1", affinity(false, sea), "b1 b2"},
		{"of another version", "a1", affinity(false, mismatch), "b1 b2"},
		{"of the same version", "a1", affinity(false, match), "a1 a2 b1 b2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := town("ab")
			table.SetNamespace("default", map[string]string{"team": "sea"})
			settle(t, table, c.settled)
			wantOpen(t, table, c.change, c.open)
		})
	}
}

// TestAffinityIsSymmetric: who is to be kept away says so for both.
func TestAffinityIsSymmetric(t *testing.T) {
	table := town("ab")
	table.AddPod("loner", "a1", testTemplate(t, "100m", affinity(false, to("bar", "zone"))), podstatus.Status{})
	bar := testTemplate(t, "100m", func(p *corev1.Pod) { p.Labels = map[string]string{"app": "bar"} })
	if d := table.Place(Group{Template: bar, UIDs: uids(4)}); strings.ContainsAny(strings.Join(d.Nodes, ""), "a") || d.Placed != 4 {
		t.Errorf("they are on %v", d.Nodes)
	}
	d := table.Place(Group{Template: bar, UIDs: []types.UID{"last"}, Fit: func(n *corev1.Node) string {
		if n.Labels["zone"] == "b" {
			return "full"
		}
		return ""
	}})
	if want := "0/4 nodes are available: 2 full, 2 node(s) didn't satisfy existing pods anti-affinity rules."; d.Reason != want {
		t.Error(d.Reason)
	}
}

func TestReasonsOfSpreadAndAffinity(t *testing.T) {
	table := town("ab")
	settle(t, table, "a1 b1")
	bare := testNode("bare", "16")
	bare.Labels = nil
	table.SetNode(bare)
	for want, change := range map[string]func(*corev1.Pod){
		"0/5 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label), 4 node(s) didn't match pod topology spread constraints.": constraint("zone", 1,
			func(s *corev1.TopologySpreadConstraint) { s.MinDomains = new(int32(3)) }),
		"0/5 nodes are available: 5 node(s) didn't match pod affinity rules.":              affinity(true, to("bar", "zone")),
		"0/5 nodes are available: 1 full, 4 node(s) didn't match pod anti-affinity rules.": affinity(false, to("foo", "zone")),
	} {
		full := func(n *corev1.Node) string {
			if n.Name == "bare" && strings.Contains(want, "full") {
				return "full"
			}
			return ""
		}
		if d := table.Place(Group{Template: testTemplate(t, "100m", change), UIDs: uids(1), Fit: full}); d.Reason != want {
			t.Errorf("%s, not %s", d.Reason, want)
		}
	}
}

// TestZonesByDefault: pods of an owner that ask for no spread are spread over zones too, as far as that costs nothing else.
func TestZonesByDefault(t *testing.T) {
	table := NewTable(1, "")
	for i := range 12 {
		n := testNode(fmt.Sprint("n", i), "16")
		n.Labels = map[string]string{zoneLabel: []string{"a", "a", "a", "a", "a", "a", "a", "a", "a", "b", "b", "c"}[i]}
		table.SetNode(n)
	}
	zones := map[string]int{}
	for _, name := range table.Place(Group{Template: testTemplate(t, "100m", nil), UIDs: uids(3)}).Nodes {
		zones[table.nodes[table.byName[name]].Labels[zoneLabel]]++
	}
	if len(zones) != 3 {
		t.Errorf("three pods are in zones %v", zones)
	}
}

func TestImagesDraw(t *testing.T) {
	table := town("ab")
	has := testNode("b2", "16")
	has.Labels = map[string]string{"zone": "b", "node": "b2"}
	has.Status.Images = []corev1.ContainerImage{{Names: []string{"registry.example/app:latest"}, SizeBytes: 2 << 30}}
	if !table.SetNode(has) {
		t.Error("images are not noticed")
	}
	template := testTemplate(t, "100m", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "registry.example/app" })
	if d := table.Place(Group{Template: template, UIDs: uids(1)}); d.Nodes[0] != "b2" {
		t.Errorf("the pod is on %s", d.Nodes[0])
	}
	table.RemoveNode("b2")
	if len(table.images) != 0 {
		t.Error("images stay without their node")
	}
}

// TestPacking: with the strategy most-allocated, pods of an owner fill a node before they use another.
func TestPacking(t *testing.T) {
	table := NewTable(1, MostAllocated)
	for i := range 4 {
		table.SetNode(testNode(fmt.Sprint("n", i), "4"))
	}
	used := map[string]int{}
	for _, name := range table.Place(Group{Template: testTemplate(t, "1", nil), UIDs: uids(6)}).Nodes {
		used[name]++
	}
	if len(used) != 2 {
		t.Errorf("six pods of one core are on %v", used)
	}
}

// TestOverheadCounts: what a runtime class takes for itself is asked of the node too.
func TestOverheadCounts(t *testing.T) {
	table := NewTable(1, "")
	table.SetNode(testNode("n", "4"))
	heavy := func(p *corev1.Pod) {
		p.Spec.Overhead = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1500m")}
	}
	if d := table.Place(Group{Template: testTemplate(t, "1", heavy), UIDs: uids(2)}); d.Placed != 1 {
		t.Errorf("%d pods of 2.5 cores are on 4", d.Placed)
	}
}

// TestTemplatesChange: a pod whose labels change counts by its new ones.
func TestTemplatesChange(t *testing.T) {
	table := town("ab")
	settle(t, table, "a1")
	renamed := testTemplate(t, "100m", func(p *corev1.Pod) { p.Labels = map[string]string{"app": "bar"} })
	table.AddPod("old-0", "a1", renamed, podstatus.Status{})
	wantOpen(t, table, affinity(true, to("bar", "zone")), "a1 a2")
	wantOpen(t, table, affinity(false, to("foo", "zone")), "a1 a2 b1 b2")
}
