package sched

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/podstatus"
)

func drawNode(t *rapid.T, name string) *corev1.Node {
	n := testNode(name, fmt.Sprint(rapid.IntRange(1, 6).Draw(t, "cpu")))
	n.Labels = map[string]string{"host": name}
	if z := rapid.SampledFrom([]string{"a", "b", "c", ""}).Draw(t, "zone"); z != "" {
		n.Labels["zone"] = z
	}
	if k := rapid.SampledFrom([]string{"1", "2", "", ""}).Draw(t, "rack"); k != "" {
		n.Labels["rack"] = k
	}
	if rapid.IntRange(0, 7).Draw(t, "tainted") == 0 {
		n.Spec.Taints = []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoSchedule}}
	}
	return n
}

func drawSelector(t *rapid.T) *metav1.LabelSelector {
	switch rapid.IntRange(0, 5).Draw(t, "selector") {
	case 0:
		return &metav1.LabelSelector{}
	case 1:
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"x"}}}}
	case 2:
		return nil
	}
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": rapid.SampledFrom([]string{"x", "y"}).Draw(t, "app")}}
}

func drawTerm(t *rapid.T) corev1.PodAffinityTerm {
	m := corev1.PodAffinityTerm{LabelSelector: drawSelector(t), TopologyKey: rapid.SampledFrom([]string{"host", "zone", "rack"}).Draw(t, "key")}
	switch rapid.IntRange(0, 5).Draw(t, "spaces") {
	case 0:
		m.Namespaces = []string{"blue", "default"}
	case 1:
		m.NamespaceSelector = &metav1.LabelSelector{}
	case 2:
		m.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "sea"}}
	}
	if m.LabelSelector != nil && rapid.Bool().Draw(t, "matchKeys") {
		m.MatchLabelKeys = []string{"hash", "absent"}
	} else if m.LabelSelector != nil && rapid.Bool().Draw(t, "mismatchKeys") {
		m.MismatchLabelKeys = []string{"hash"}
	}
	return m
}

func drawSpread(t *rapid.T, must bool) corev1.TopologySpreadConstraint {
	s := corev1.TopologySpreadConstraint{
		MaxSkew: int32(rapid.IntRange(1, 2).Draw(t, "skew")), TopologyKey: rapid.SampledFrom([]string{"host", "zone", "rack"}).Draw(t, "key"),
		WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: drawSelector(t),
	}
	if must {
		s.WhenUnsatisfiable = corev1.DoNotSchedule
		if rapid.Bool().Draw(t, "hasDomains") {
			n := int32(rapid.IntRange(1, 4).Draw(t, "domains"))
			s.MinDomains = &n
		}
	}
	policies := []*corev1.NodeInclusionPolicy{nil, new(corev1.NodeInclusionPolicyHonor), new(corev1.NodeInclusionPolicyIgnore)}
	s.NodeAffinityPolicy = rapid.SampledFrom(policies).Draw(t, "affinityPolicy")
	s.NodeTaintsPolicy = rapid.SampledFrom(policies).Draw(t, "taintsPolicy")
	return s
}

func drawPod(t *rapid.T) *corev1.Pod {
	yes := true
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: rapid.SampledFrom([]string{"default", "blue"}).Draw(t, "namespace"),
		Labels: map[string]string{"app": rapid.SampledFrom([]string{"x", "y"}).Draw(t, "app"), "hash": rapid.SampledFrom([]string{"1", "2"}).Draw(t, "hash")}}}
	if o := rapid.SampledFrom([]string{"", "o1", "o2"}).Draw(t, "owner"); o != "" {
		p.OwnerReferences = []metav1.OwnerReference{{UID: types.UID(o), Controller: &yes}}
	}
	p.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(fmt.Sprintf("%dm", rapid.IntRange(1, 12).Draw(t, "cpu")*100))}}}}
	if rapid.IntRange(0, 4).Draw(t, "selective") == 0 {
		p.Spec.NodeSelector = map[string]string{"zone": "a"}
	}
	a := &corev1.Affinity{PodAffinity: &corev1.PodAffinity{}, PodAntiAffinity: &corev1.PodAntiAffinity{}}
	for range rapid.IntRange(0, 3).Draw(t, "wishes") {
		switch rapid.IntRange(0, 5).Draw(t, "wish") {
		case 0:
			a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution = append(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, drawTerm(t))
		case 1:
			a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution = append(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, drawTerm(t))
		case 2:
			a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution = append(a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution,
				corev1.WeightedPodAffinityTerm{Weight: int32(rapid.IntRange(1, 100).Draw(t, "weight")), PodAffinityTerm: drawTerm(t)})
		case 3:
			a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution = append(a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution,
				corev1.WeightedPodAffinityTerm{Weight: int32(rapid.IntRange(1, 100).Draw(t, "weight")), PodAffinityTerm: drawTerm(t)})
		case 4:
			p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, drawSpread(t, true))
		case 5:
			p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, drawSpread(t, false))
		}
	}
	p.Spec.Affinity = a
	return p
}

// TestPlaceIsTheReference compares whatever may happen with the scan of everything for every pod. Invariant 39. Invariant 204.
func TestPlaceIsTheReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		packs := rapid.IntRange(0, 3).Draw(t, "packs") == 0
		table := NewTable(5, map[bool]Strategy{true: MostAllocated, false: LeastAllocated}[packs])
		ref := &reference{table: table, packs: packs, spaces: map[string]map[string]string{"blue": {"team": "sea"}}}
		table.SetNamespace("blue", ref.spaces["blue"])
		for i := range rapid.IntRange(1, 9).Draw(t, "nodes") {
			n := drawNode(t, fmt.Sprint("n", i))
			table.SetNode(n)
			ref.nodes = append(ref.nodes, n)
		}
		var templates []*api.PodTemplate
		for range rapid.IntRange(1, 4).Draw(t, "templates") {
			pt, err := api.NewPodTemplate(drawPod(t))
			if err != nil {
				t.Fatal(err)
			}
			templates = append(templates, pt)
		}
		count, made, kept := 0, map[types.UID]*api.PodTemplate{}, map[types.UID]*Place{}
		remove := func(uid types.UID) {
			if at := kept[uid]; at != nil {
				table.RemoveKept(at)
			}
			table.RemovePod(uid)
		}
		t.Repeat(map[string]func(*rapid.T){
			"keep": func(t *rapid.T) {
				if len(ref.pods) > 0 {
					p, at := rapid.SampledFrom(ref.pods).Draw(t, "pod"), &Place{}
					if kept[p.uid] != nil {
						return
					}
					kept[p.uid] = at
					table.Keep(at, p.uid)
					if table.NodeOfKept(at) != p.node || table.NodeOf(p.uid) != "" || table.AddKept(at, p.node, made[p.uid], podstatus.Status{}) {
						t.Fatalf("pod %s is kept on %q and %q, not on %s", p.uid, table.NodeOfKept(at), table.NodeOf(p.uid), p.node)
					}
				}
			},
			"place": func(t *rapid.T) {
				pt := rapid.SampledFrom(templates).Draw(t, "template")
				var all []types.UID
				for range rapid.IntRange(1, 7).Draw(t, "pods") {
					count++
					all = append(all, types.UID(fmt.Sprint("p", count)))
				}
				d := table.Place(Group{Template: pt, UIDs: all})
				for i, uid := range all {
					made[uid] = pt
					if want := ref.place(uid, pt.Pod); d.Nodes[i] != want {
						t.Fatalf("pod %d of %d goes to %q, not %q; %s", i, len(all), d.Nodes[i], want, d.Reason)
					}
				}
			},
			"remove": func(t *rapid.T) {
				if len(ref.pods) > 0 {
					i := rapid.IntRange(0, len(ref.pods)-1).Draw(t, "pod")
					remove(ref.pods[i].uid)
					ref.pods = slices.Delete(ref.pods, i, i+1)
				}
			},
			"leave": func(t *rapid.T) {
				if len(ref.pods) > 0 {
					i := rapid.IntRange(0, len(ref.pods)-1).Draw(t, "pod")
					if at := kept[ref.pods[i].uid]; at != nil {
						table.LeavingKept(at)
					} else {
						table.Leaving(ref.pods[i].uid)
					}
					ref.pods[i].leaving = true
				}
			},
			"node": func(t *rapid.T) {
				i := rapid.IntRange(0, len(ref.nodes)-1).Draw(t, "node")
				ref.nodes[i] = drawNode(t, ref.nodes[i].Name)
				table.SetNode(ref.nodes[i])
			},
			"namespace": func(t *rapid.T) {
				ref.spaces["default"] = map[string]string{"team": rapid.SampledFrom([]string{"sea", "sky"}).Draw(t, "team")}
				table.SetNamespace("default", ref.spaces["default"])
			},
		})
		for _, p := range ref.pods {
			remove(p.uid)
		}
		checkEmpty(t, table)
	})
}

// checkEmpty holds a table without pods to have nothing of pods.
func checkEmpty(t *rapid.T, table *Table) {
	if n := len(table.kinds) + len(table.censuses) + len(table.choosers) + len(table.labelled) + len(table.owned) + len(table.priorities) + table.feelings; n != 0 {
		t.Fatalf("%d things are left of pods that are gone", n)
	}
	if len(table.topologies) != 1 {
		t.Fatalf("topologies %v are left", table.topologies)
	}
}
