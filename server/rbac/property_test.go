package rbac

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/component-helpers/auth/rbac/validation"
	"pgregory.net/rapid"
)

// The words that policies and requests are drawn from: few, so that they meet, and odd ones among them.
var (
	someVerbs      = []string{"get", "list", "delete", "*"}
	someGroups     = []string{"", "apps", "*"}
	someResources  = []string{"pods", "pods/log", "pods/scale", "jobs", "*", "*/scale", "*/log", "*/", "pods/", "pods/*", "a/b/c", "*/b/c"}
	someNames      = []string{"", "one", "two"}
	somePaths      = []string{"/a", "/a/b", "/a/*", "/a*", "/*", "*", "/", "/ab"}
	someUsers      = []string{"anna", "otto", "system:serviceaccount:dev:robot", "system:serviceaccount:prod:robot"}
	someTeams      = []string{"g1", "g2", "g3"}
	someNamespaces = []string{"", "dev", "prod", "empty"}
	someRoles      = []string{"r1", "r2", "r3"}
)

func some(words []string, least int) *rapid.Generator[[]string] {
	return rapid.SliceOfN(rapid.SampledFrom(words), least, 3)
}

var anyRule = rapid.Custom(func(t *rapid.T) rbacv1.PolicyRule {
	r := rbacv1.PolicyRule{Verbs: some(someVerbs, 0).Draw(t, "verbs")}
	if rapid.Bool().Draw(t, "path") {
		r.NonResourceURLs = some(somePaths, 1).Draw(t, "paths")
		return r
	}
	r.APIGroups, r.Resources = some(someGroups, 1).Draw(t, "groups"), some(someResources, 1).Draw(t, "resources")
	r.ResourceNames = some(someNames, 0).Draw(t, "names")
	return r
})

var anySubject = rapid.Custom(func(t *rapid.T) rbacv1.Subject {
	switch rapid.IntRange(0, 3).Draw(t, "subject") {
	case 0:
		return userSubject(rapid.SampledFrom(someUsers).Draw(t, "user"))
	case 1:
		return groupSubject(rapid.SampledFrom(someTeams).Draw(t, "group"))
	case 2:
		return accountSubject(rapid.SampledFrom(someNamespaces[:3]).Draw(t, "namespace"), "robot")
	}
	return rbacv1.Subject{Kind: "Robot", Name: "anna"}
})

// anyObject draws an object of the policy.
var anyObject = rapid.Custom(func(t *rapid.T) runtime.Object {
	rules, subjects := rapid.SliceOfN(anyRule, 0, 3), rapid.SliceOfN(anySubject, 0, 3)
	name, namespace := rapid.SampledFrom(someRoles).Draw(t, "name"), rapid.SampledFrom(someNamespaces[1:3]).Draw(t, "namespace")
	role := rapid.SampledFrom(someRoles).Draw(t, "role")
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		return namespaceRole(namespace, name, rules.Draw(t, "rules")...)
	case 1:
		return clusterRole(name, rules.Draw(t, "rules")...)
	case 2:
		return bindIn(namespace, name, rapid.SampledFrom([]string{"Role", "ClusterRole"}).Draw(t, "of"), role, subjects.Draw(t, "subjects")...)
	}
	return bindAll(name, role, subjects.Draw(t, "subjects")...)
})

var anyUser = rapid.Custom(func(t *rapid.T) user.Info {
	return &user.DefaultInfo{Name: rapid.SampledFrom(someUsers).Draw(t, "user"), Groups: some(someTeams, 0).Draw(t, "groups")}
})

var anyRequest = rapid.Custom(func(t *rapid.T) authorizer.AttributesRecord {
	at := authorizer.AttributesRecord{User: anyUser.Draw(t, "user"), Verb: rapid.SampledFrom(someVerbs).Draw(t, "verb")}
	if rapid.Bool().Draw(t, "path") {
		at.Path = rapid.SampledFrom(append([]string{"/a/b/c", "x"}, somePaths...)).Draw(t, "path")
		return at
	}
	at.ResourceRequest = true
	at.APIGroup = rapid.SampledFrom([]string{"", "apps", "batch"}).Draw(t, "group")
	at.Resource = rapid.SampledFrom([]string{"pods", "jobs", "pods/log", "pods/", "*/", "*", "a", "a/b", "*/scale"}).Draw(t, "resource")
	at.Subresource = rapid.SampledFrom([]string{"", "log", "scale", "b/c", "c", "*"}).Draw(t, "subresource")
	at.Name = rapid.SampledFrom(someNames).Draw(t, "name")
	at.Namespace = rapid.SampledFrom(someNamespaces).Draw(t, "namespace")
	return at
})

// The naive evaluator reads the documentation of the API aloud: every binding, every subject, every rule.

func naiveRule(r *rbacv1.PolicyRule, at authorizer.Attributes) bool {
	among := func(list []string, word string) bool {
		return slices.Contains(list, word) || slices.Contains(list, "*")
	}
	if !among(r.Verbs, at.GetVerb()) {
		return false
	}
	if !at.IsResourceRequest() {
		return slices.ContainsFunc(r.NonResourceURLs, func(p string) bool {
			return p == at.GetPath() || strings.HasSuffix(p, "*") && strings.HasPrefix(at.GetPath(), strings.TrimRight(p, "*"))
		})
	}
	whole, sub := at.GetResource(), at.GetSubresource()
	if sub != "" {
		whole += "/" + sub
	}
	return among(r.APIGroups, at.GetAPIGroup()) &&
		(among(r.Resources, whole) || sub != "" && slices.Contains(r.Resources, "*/"+sub)) &&
		(len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, at.GetName()))
}

func naiveSubject(s *rbacv1.Subject, u user.Info, namespace string) bool {
	switch s.Kind {
	case "User":
		return s.Name == u.GetName()
	case "Group":
		return slices.Contains(u.GetGroups(), s.Name)
	case "ServiceAccount":
		if s.Namespace != "" {
			namespace = s.Namespace
		}
		return namespace != "" && u.GetName() == "system:serviceaccount:"+namespace+":"+s.Name
	}
	return false
}

// naiveRules lists the rules that a user has in a namespace, each with the reasons that may be given for it, and the roles that are missing.
func naiveRules(p Policy, u user.Info, namespace string) (rules []rbacv1.PolicyRule, reasons [][]string, missing []string) {
	add := func(kind, full, bindingNamespace string, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
		var why []string
		for i := range subjects {
			if s := &subjects[i]; naiveSubject(s, u, bindingNamespace) {
				name := s.Name
				if s.Kind == "ServiceAccount" && s.Namespace != "" {
					name += "/" + s.Namespace
				} else if s.Kind == "ServiceAccount" {
					name += "/" + bindingNamespace
				}
				why = append(why, fmt.Sprintf("RBAC: allowed by %s %q of %s %q to %s %q", kind, full, ref.Kind, ref.Name, s.Kind, name))
			}
		}
		if why == nil {
			return
		}
		var list []rbacv1.PolicyRule
		if o, ok := p.ClusterRoles.Get("", ref.Name); ok && ref.Kind == "ClusterRole" {
			list = o.(*rbacv1.ClusterRole).Rules
		} else if o, ok := p.Roles.Get(bindingNamespace, ref.Name); ok && ref.Kind == "Role" {
			list = o.(*rbacv1.Role).Rules
		} else {
			missing = append(missing, fmt.Sprintf("%s.rbac.authorization.k8s.io %q not found", strings.ToLower(ref.Kind), ref.Name))
		}
		for _, r := range list {
			rules, reasons = append(rules, r), append(reasons, why)
		}
	}
	each(p.ClusterRoleBindings, func(b *rbacv1.ClusterRoleBinding) { add("ClusterRoleBinding", b.Name, "", b.RoleRef, b.Subjects) })
	each(p.RoleBindings, func(b *rbacv1.RoleBinding) {
		if b.Namespace == namespace {
			add("RoleBinding", b.Name+"/"+b.Namespace, b.Namespace, b.RoleRef, b.Subjects)
		}
	})
	return rules, reasons, missing
}

// TestDecisionsAreTheNaiveOnes: Invariant 65. Whatever the policy and however it changes, the arranged policy decides as the plain one does, gives
// a reason that is true, and names each role that is missing.
func TestDecisionsAreTheNaiveOnes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMemory()
		a := New(m)
		for range rapid.IntRange(1, 6).Draw(t, "rounds") {
			for _, o := range rapid.SliceOfN(anyObject, 0, 8).Draw(t, "objects") {
				if rapid.IntRange(0, 4).Draw(t, "remove") == 0 {
					m.remove(o)
				} else {
					m.put(o)
				}
			}
			for _, at := range rapid.SliceOfN(anyRequest, 1, 12).Draw(t, "requests") {
				checkDecision(t, m, a, at)
			}
		}
	})
}

func checkDecision(t *rapid.T, m *memory, a *Authorizer, at authorizer.AttributesRecord) {
	rules, reasons, missing := naiveRules(m.Policy(), at.User, at.Namespace)
	var why []string
	for i := range rules {
		if naiveRule(&rules[i], at) {
			why = append(why, reasons[i]...)
		}
	}
	d, reason, err := a.Authorize(context.Background(), &at)
	if err != nil || (d == authorizer.DecisionAllow) != (why != nil) {
		t.Fatalf("%+v of %v: %v %q %v, but naively %v", at, at.User, d, reason, err, why)
	}
	if why != nil && !slices.Contains(why, reason) {
		t.Fatalf("%+v: reason %q is none of %q", at, reason, why)
	}
	if why == nil && (reason == "") != (missing == nil) {
		t.Fatalf("%+v: reason %q, but these are missing: %q", at, reason, missing)
	}
	for _, r := range missing {
		if why == nil && !strings.Contains(reason, r) {
			t.Fatalf("%+v: reason %q does not say %q", at, reason, r)
		}
	}
	listed, _ := a.picture().rulesOf(at.User, at.Namespace)
	if fmt.Sprint(listed) != fmt.Sprint(rules) {
		t.Fatalf("rules of %v in %q: %v, but naively %v", at.User, at.Namespace, listed, rules)
	}
}

// universe has every act that the words can mean, and for each wildcard one that no word but the wildcard means.
func universe(yield func(authorizer.AttributesRecord) bool) {
	for _, v := range append([]string{"other"}, someVerbs...) {
		for _, p := range append([]string{"/other", "other", "/a/other", "/aother", "/abother"}, somePaths...) {
			if !yield(authorizer.AttributesRecord{Verb: v, Path: p}) {
				return
			}
		}
		for _, g := range append([]string{"other"}, someGroups...) {
			for _, r := range []string{"pods", "jobs", "other", "*", "a"} {
				for _, s := range []string{"", "log", "scale", "other", "*", "b/c"} {
					for _, n := range append([]string{"other"}, someNames...) {
						if !yield(authorizer.AttributesRecord{Verb: v, APIGroup: g, Resource: r, Subresource: s, Name: n, ResourceRequest: true}) {
							return
						}
					}
				}
			}
		}
	}
}

func naivelyAllows(rules []rbacv1.PolicyRule, at authorizer.AttributesRecord) bool {
	return slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool { return naiveRule(&r, at) })
}

// TestCoversIsEnumeration: rules cover others if and only if every act that the others allow is one that they allow.
func TestCoversIsEnumeration(t *testing.T) {
	// What has no name but ends in a slash can be asked for by an access review only: "pods/" and its like are not in the universe.
	plain := anyRule.Filter(func(r rbacv1.PolicyRule) bool {
		return !slices.ContainsFunc(r.Resources, func(s string) bool { return strings.HasSuffix(s, "/") })
	})
	rapid.Check(t, func(t *rapid.T) {
		owned, asked := rapid.SliceOfN(plain, 0, 3).Draw(t, "owned"), rapid.SliceOfN(plain, 0, 1).Draw(t, "asked")
		for _, r := range owned { // what is asked must resemble what is owned, or hardly anything would be covered
			asked = append(asked, like(t, r, plain.Draw(t, "like")))
		}
		covered, missing := validation.Covers(owned, asked)
		for at := range universe {
			may, wants := naivelyAllows(owned, at), naivelyAllows(asked, at)
			if covered && wants && !may {
				t.Fatalf("covered, but %+v is not", at)
			}
			if wants && !may && !naivelyAllows(missing, at) {
				t.Fatalf("%+v is not owned, and not missing in %v", at, missing)
			}
		}
		if covered != (len(missing) == 0) {
			t.Fatalf("covered: %v, missing %v", covered, missing)
		}
		for _, act := range missing {
			if !beyond(owned, act) {
				t.Fatalf("missing %v, but every act of it is owned", act)
			}
		}
	})
}

// like is a rule with one field of another.
func like(t *rapid.T, r, other rbacv1.PolicyRule) rbacv1.PolicyRule {
	switch rapid.IntRange(0, 5).Draw(t, "field") {
	case 0:
		r.Verbs = other.Verbs
	case 1:
		r.APIGroups = other.APIGroups
	case 2:
		r.Resources = other.Resources
	case 3:
		r.ResourceNames = other.ResourceNames
	case 4:
		r.NonResourceURLs = other.NonResourceURLs
	}
	return r
}

// beyond says whether rules allow something that is not owned.
func beyond(owned []rbacv1.PolicyRule, act rbacv1.PolicyRule) bool {
	for at := range universe {
		if naiveRule(&act, at) && !naivelyAllows(owned, at) {
			return true
		}
	}
	return false
}
