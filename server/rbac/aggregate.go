package rbac

import (
	"cmp"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Aggregate gives those roles that are made of others, as they should be, if they are not. The arguments are all roles of the
// cluster; they are not changed.
//
// A role made of others has the rules of all that its selectors select, also of those that are selected by the selected. So its rules
// follow from the roles that are not made of others, whatever it has now, and one call settles everything.
func Aggregate(roles []*rbacv1.ClusterRole) (changed []*rbacv1.ClusterRole) {
	roles = slices.SortedFunc(slices.Values(roles), func(a, b *rbacv1.ClusterRole) int { return cmp.Compare(a.Name, b.Name) })
	for _, r := range roles {
		if !aggregates(r) {
			continue
		}
		g := gatherer{roles: roles, seen: map[string]bool{}}
		if !g.visit(r) || equality.Semantic.DeepEqual(g.rules, r.Rules) {
			continue
		}
		next := r.DeepCopy()
		next.Rules = nil
		for i := range g.rules {
			next.Rules = append(next.Rules, *g.rules[i].DeepCopy())
		}
		changed = append(changed, next)
	}
	return changed
}

// gatherer collects the rules of one role.
type gatherer struct {
	roles []*rbacv1.ClusterRole // by name
	seen  map[string]bool       // by name
	rules []rbacv1.PolicyRule
}

// visit takes the rules of a role, each once, those of the selected in the order of selectors and then names. It is false for a role
// whose selectors are not all good: validation keeps such roles out, and half of its rules would be worse than its old ones.
func (g *gatherer) visit(r *rbacv1.ClusterRole) bool {
	g.seen[r.Name] = true
	if !aggregates(r) {
		for _, rule := range r.Rules {
			if !slices.ContainsFunc(g.rules, func(x rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(x, rule) }) {
				g.rules = append(g.rules, rule)
			}
		}
		return true
	}
	for i := range r.AggregationRule.ClusterRoleSelectors {
		s, err := metav1.LabelSelectorAsSelector(&r.AggregationRule.ClusterRoleSelectors[i])
		if err != nil || !g.selected(s) {
			return false
		}
	}
	return true
}

func (g *gatherer) selected(s labels.Selector) bool {
	for _, r := range g.roles {
		if !g.seen[r.Name] && s.Matches(labels.Set(r.Labels)) && !g.visit(r) {
			return false
		}
	}
	return true
}
