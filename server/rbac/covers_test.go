package rbac

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/component-helpers/auth/rbac/validation"
)

// TestCovers holds the library to what the guard relies on.
func TestCovers(t *testing.T) {
	list := func(rules ...rbacv1.PolicyRule) []rbacv1.PolicyRule { return rules }
	for _, c := range []struct {
		name         string
		owned, asked []rbacv1.PolicyRule
		missing      string // as described; empty if covered
	}{
		{"nothing", nil, nil, ""},
		{"the same", list(rule("get list", core, "pods")), list(rule("get list", core, "pods")), ""},
		{"act by act", list(rule("get", core, "pods"), rule("list", core, "pods")), list(rule("get list", core, "pods")), ""},
		{"no verb more", list(rule("get", core, "pods")), list(rule("get list watch", core, "pods")), `{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}`},
		{"no group more", list(rule("get", core, "pods")), list(rule("get", "core apps", "pods")), `{APIGroups:["apps"], Resources:["pods"], Verbs:["get"]}`},
		{"wildcards have all", list(rule(all, all, all)), list(rule("get", "apps", "deployments/scale", "x"), rule(all, all, all)), ""},
		{"all is more than some", list(rule("get list", "core apps", "pods jobs")), list(rule("get", all, "pods"), rule("get", core, all), rule(all, core, "pods")),
			`{APIGroups:[""], Resources:["*"], Verbs:["get"]}` + "\n" + `{APIGroups:[""], Resources:["pods"], Verbs:["*"]}` + "\n" + `{APIGroups:["*"], Resources:["pods"], Verbs:["get"]}`},
		{"a wildcard of resources has subresources", list(rule("get", core, all)), list(rule("get", core, "pods/log */scale")), ""},
		{"a resource has no subresources", list(rule("get", core, "pods")), list(rule("get", core, "pods/log")), `{APIGroups:[""], Resources:["pods/log"], Verbs:["get"]}`},
		{"a wildcard of subresources", list(rule("get", core, "*/scale")), list(rule("get", core, "pods/scale */scale scale")), `{APIGroups:[""], Resources:["scale"], Verbs:["get"]}`},
		{"an odd wildcard", list(rule("get", core, "*/")), list(rule("get", core, "pods")), `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`},
		{"one name of one resource", list(rule("get", core, "pods", "a", "b")), list(rule("get", core, "pods", "b", "c")),
			`{APIGroups:[""], Resources:["pods"], ResourceNames:["c"], Verbs:["get"]}`},
		{"all names", list(rule("get", core, "pods")), list(rule("get", core, "pods", "b")), ""},
		{"not all names", list(rule("get", core, "pods", "b")), list(rule("get", core, "pods")), `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`},
		{"paths", list(paths("get", "/a", "/b/*")), list(paths("get", "/a", "/b/c", "/b/*", "/b/c/*")), ""},
		{"a prefix ends in a slash", list(paths("get", "/a/*")), list(paths("get", "/a", "/ab")),
			`{NonResourceURLs:["/a"], Verbs:["get"]}` + "\n" + `{NonResourceURLs:["/ab"], Verbs:["get"]}`},
		{"a path has nothing below", list(paths("get", "/a")), list(paths("get", "/a/*", "/a/b", "*")),
			`{NonResourceURLs:["*"], Verbs:["get"]}` + "\n" + `{NonResourceURLs:["/a/*"], Verbs:["get"]}` + "\n" + `{NonResourceURLs:["/a/b"], Verbs:["get"]}`},
		{"all paths", list(paths(all, all)), list(paths("get", "/a", "*"), paths(all, "/x*")), ""},
		{"resources are no paths", list(rule(all, all, all)), list(paths("get", "/a")), `{NonResourceURLs:["/a"], Verbs:["get"]}`},
		{"paths are no resources", list(paths(all, all)), list(rule("get", core, "pods")), `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`},
		{"a rule that allows nothing", nil, list(rbacv1.PolicyRule{Verbs: []string{"get"}}, rule("", core, "pods")), ""},
	} {
		covered, missing := validation.Covers(c.owned, c.asked)
		if got := describe(missing); got != c.missing || covered != (c.missing == "") {
			t.Errorf("%s: %v\ngot  %s\nwant %s", c.name, covered, got, c.missing)
		}
	}
}
