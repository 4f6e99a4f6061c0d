package rbac

import (
	"fmt"
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

// rulesAfter aggregates and gives the rules of every role.
func rulesAfter(roles []*rbacv1.ClusterRole) map[string][]rbacv1.PolicyRule {
	out := map[string][]rbacv1.PolicyRule{}
	for _, r := range append(slices.Clone(roles), Aggregate(roles)...) {
		out[r.Name] = r.Rules
	}
	return out
}

func TestAggregate(t *testing.T) {
	pods, jobs := rule("get", core, "pods"), rule("get", "batch", "jobs")
	b := partOf("y", partOf("x", clusterRole("b", jobs, pods)))
	a := partOf("x", clusterRole("a", pods, pods))
	y := partOf("x", made("y"))
	x := made("x")
	x.Rules = []rbacv1.PolicyRule{rule("get", core, "secrets")}
	roles := []*rbacv1.ClusterRole{x, y, b, a, clusterRole("c", rule("list", core, "pods"))}
	got := rulesAfter(roles)
	if want := fmt.Sprint([]rbacv1.PolicyRule{pods, jobs}); fmt.Sprint(got["x"]) != want {
		t.Errorf("x has %v, want %v: each rule once, in the order of names", got["x"], want)
	}
	if want := fmt.Sprint([]rbacv1.PolicyRule{jobs, pods}); fmt.Sprint(got["y"]) != want {
		t.Errorf("y has %v, want %v", got["y"], want)
	}
	if len(x.Rules) != 1 || len(Aggregate(roles)) != 2 {
		t.Error("the arguments were changed")
	}

	delete(b.Labels, aggregateTo("x"))
	delete(b.Labels, aggregateTo("y"))
	if got := rulesAfter(roles); len(got["x"]) != 1 || len(got["y"]) != 0 {
		t.Errorf("what is no longer selected is no longer there: %v, %v", got["x"], got["y"])
	}
}

func TestAggregateRefusesBadSelectors(t *testing.T) {
	x := made("x")
	x.Rules = []rbacv1.PolicyRule{rule("get", core, "secrets")}
	x.AggregationRule.ClusterRoleSelectors = append(x.AggregationRule.ClusterRoleSelectors,
		metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Is"}}})
	if changed := Aggregate([]*rbacv1.ClusterRole{x, partOf("x", clusterRole("a", rule("get", core, "pods")))}); len(changed) > 0 {
		t.Errorf("%v", changed)
	}
	none := clusterRole("r", rule("get", core, "pods"))
	none.AggregationRule = &rbacv1.AggregationRule{}
	if changed := Aggregate([]*rbacv1.ClusterRole{none}); len(changed) > 0 {
		t.Errorf("a role without selectors is not made of others: %v", changed)
	}
}

// TestAggregateIsClosed: a role has exactly the rules of the plain roles that can be reached by its selectors, cycles and all, and
// what Aggregate made needs no more of it.
func TestAggregateIsClosed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var roles []*rbacv1.ClusterRole
		labels := []string{"x", "y", "z"}
		for i := range rapid.IntRange(0, 7).Draw(t, "roles") {
			r := clusterRole(fmt.Sprint("r", i), rapid.SliceOfN(anyRule, 0, 2).Draw(t, "rules")...)
			for _, l := range labels {
				if rapid.Bool().Draw(t, "label") {
					partOf(l, r)
				}
			}
			if rapid.Bool().Draw(t, "made") {
				r.AggregationRule = made(rapid.SampledFrom(labels).Draw(t, "selector")).AggregationRule
			}
			roles = append(roles, r)
		}
		got := rulesAfter(roles)
		for _, r := range roles {
			if r.AggregationRule == nil {
				continue
			}
			want := map[string]bool{}
			for other := range reached(roles, r) {
				if other.AggregationRule == nil {
					for _, rule := range other.Rules {
						want[fmt.Sprint(rule)] = true
					}
				}
			}
			has := map[string]bool{}
			for _, rule := range got[r.Name] {
				has[fmt.Sprint(rule)] = true
			}
			if fmt.Sprint(want) != fmt.Sprint(has) || len(has) != len(got[r.Name]) {
				t.Fatalf("%s has %v, want %v", r.Name, got[r.Name], want)
			}
		}
		for i, r := range roles {
			roles[i] = r.DeepCopy()
			roles[i].Rules = got[r.Name]
		}
		if again := Aggregate(roles); len(again) > 0 {
			t.Fatalf("a second time changes %v", again)
		}
	})
}

// reached spreads from a role along selectors until nothing more is reached.
func reached(roles []*rbacv1.ClusterRole, from *rbacv1.ClusterRole) map[*rbacv1.ClusterRole]bool {
	out := map[*rbacv1.ClusterRole]bool{from: true}
	for grew := true; grew; {
		grew = false
		for r := range out {
			if r.AggregationRule == nil {
				continue
			}
			for key := range r.AggregationRule.ClusterRoleSelectors[0].MatchLabels {
				for _, other := range roles {
					if other.Labels[key] == "true" && !out[other] {
						out[other], grew = true, true
					}
				}
			}
		}
	}
	return out
}
