package rbac

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

// describe shows rules one a line, sorted: {APIGroups:["apps"], Resources:["deployments"], Verbs:["get" "list"]}.
func describe(rules []rbacv1.PolicyRule) string {
	var lines []string
	for _, r := range join(rules) {
		lines = append(lines, describeRule(&r))
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "\n")
}

func describeRule(r *rbacv1.PolicyRule) string {
	var parts []string
	for _, f := range []struct {
		name   string
		values []string
	}{
		{"APIGroups", r.APIGroups}, {"Resources", r.Resources}, {"NonResourceURLs", r.NonResourceURLs},
		{"ResourceNames", r.ResourceNames}, {"Verbs", r.Verbs},
	} {
		if len(f.values) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", f.name, f.values))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// join makes one rule of all that are about one resource (and one name, if any), with all their verbs. The rules are such as Covers
// says are missing, each about one act; those about paths stay as they are.
func join(list []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	type object struct {
		group, resource, name string
		named                 bool
	}
	at := map[object]int{}
	var out []rbacv1.PolicyRule
	for _, act := range list {
		if len(act.NonResourceURLs) > 0 {
			out = append(out, act)
			continue
		}
		o := object{group: act.APIGroups[0], resource: act.Resources[0], named: len(act.ResourceNames) > 0}
		if o.named {
			o.name = act.ResourceNames[0]
		}
		if i, ok := at[o]; ok {
			out[i].Verbs = append(out[i].Verbs, act.Verbs...)
			continue
		}
		at[o] = len(out)
		out = append(out, *act.DeepCopy())
	}
	return out
}
