package rbac

import (
	"context"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/component-helpers/auth/rbac/validation"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api"
)

// bootstrapped is a new cluster's policy, settled.
func bootstrapped() *memory {
	m := newMemory()
	m.write(Reconcile(m.Policy(), Bootstrap()))
	var roles []*rbacv1.ClusterRole
	each(m.Policy().ClusterRoles, func(r *rbacv1.ClusterRole) { roles = append(roles, r) })
	for _, r := range Aggregate(roles) {
		m.put(r)
	}
	return m
}

// rulesIn gives the rules of a role of the cluster.
func rulesIn(t *testing.T, m *memory, name string) []rbacv1.PolicyRule {
	r, ok := find[*rbacv1.ClusterRole](m.Policy().ClusterRoles, "", name)
	if !ok {
		t.Fatalf("there is no role %s", name)
	}
	return r.Rules
}

// Every object of a new cluster is as the API would have stored it.
func TestBootstrapIsValid(t *testing.T) {
	for _, w := range Reconcile(newMemory().Policy(), Bootstrap()) {
		k, o := api.KindFor(w.Resource), w.Object.(object)
		if w.Old != nil || o.GetLabels()["kubernetes.io/bootstrapping"] != "rbac-defaults" || o.GetAnnotations()["rbac.authorization.kubernetes.io/autoupdate"] != "true" {
			t.Errorf("%s: %v %v, in place of %v", o.GetName(), o.GetLabels(), o.GetAnnotations(), w.Old)
		}
		if errs := append(k.Validate(w.Object), k.ValidateUpdate(w.Object, w.Object)...); len(errs) > 0 {
			t.Errorf("%s %s: %v", w.Resource, o.GetName(), errs)
		}
		if msgs := k.ValidateName(o.GetName(), false); len(msgs) > 0 {
			t.Error(msgs)
		}
		if k.Default == nil {
			continue
		}
		before := w.Object.DeepCopyObject()
		if k.Default(w.Object); !equality.Semantic.DeepEqual(before, w.Object) {
			t.Errorf("%s %s needs defaulting", w.Resource, o.GetName())
		}
	}
}

func TestBootstrapIsWhole(t *testing.T) {
	m, seen := bootstrapped(), map[string]bool{}
	for _, w := range Reconcile(newMemory().Policy(), Bootstrap()) {
		o := w.Object.(object)
		key := w.Resource.Resource + " " + o.GetNamespace() + "/" + o.GetName()
		if seen[key] {
			t.Errorf("%s is there twice", key)
		}
		seen[key] = true
	}
	p := m.Policy()
	each(p.ClusterRoleBindings, func(b *rbacv1.ClusterRoleBinding) {
		if len(rulesIn(t, m, b.RoleRef.Name)) == 0 {
			t.Errorf("binding %s gives nothing", b.Name)
		}
	})
	each(p.RoleBindings, func(b *rbacv1.RoleBinding) {
		if _, ok := p.Roles.Get(b.Namespace, b.RoleRef.Name); !ok {
			t.Errorf("binding %s/%s gives a role that is not there", b.Namespace, b.Name)
		}
	})
	for _, name := range []string{
		"cluster-admin", "admin", "edit", "view", "system:node", "system:kube-scheduler", "system:kube-controller-manager", "system:node-bootstrapper",
		"system:controller:job-controller", "system:controller:generic-garbage-collector", "system:certificates.k8s.io:legacy-unknown-approver",
		"system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", "system:auth-delegator", "system:persistent-volume-provisioner",
	} {
		rulesIn(t, m, name)
	}
}

// Who is who in a new cluster.
func TestBootstrapAllows(t *testing.T) {
	m := bootstrapped()
	a := New(m)
	m.put(bindIn("dev", "admins", "ClusterRole", "admin", userSubject("admin")))
	m.put(bindIn("dev", "editors", "ClusterRole", "edit", userSubject("editor")))
	m.put(bindIn("dev", "viewers", "ClusterRole", "view", userSubject("viewer")))
	const authenticated, unauthenticated = " system:authenticated", "system:anonymous system:unauthenticated"
	for _, c := range []struct {
		at    authorizer.AttributesRecord
		allow bool
	}{
		{resourceRequest("root system:masters", "frobnicate", "x.io", "things", "any", ""), true},
		{pathRequest("root system:masters", "put", "/anything"), true},
		{pathRequest(unauthenticated, "get", "/version"), true},
		{pathRequest(unauthenticated, "get", "/healthz"), true},
		{pathRequest(unauthenticated, "get", "/api"), false},
		{pathRequest(unauthenticated, "get", "/metrics"), false},
		{resourceRequest(unauthenticated, "create", "authorization.k8s.io", "selfsubjectaccessreviews", "", ""), false},
		{pathRequest("anna"+authenticated, "get", "/openapi/v3/api/v1"), true},
		{pathRequest("anna"+authenticated, "get", "/apis"), true},
		{pathRequest("anna"+authenticated, "get", "/metrics"), false},
		{pathRequest("anna"+authenticated, "post", "/apis"), false},
		{pathRequest("prom system:monitoring", "get", "/metrics"), true},
		{resourceRequest("anna"+authenticated, "create", "authorization.k8s.io", "selfsubjectaccessreviews", "", ""), true},
		{resourceRequest("anna"+authenticated, "get", "", "pods", "default", "p"), false},
		{resourceRequest("anna"+authenticated, "list", "", "namespaces", "", ""), false},
		{pathRequest("system:serviceaccount:a:b system:serviceaccounts", "get", "/openid/v1/jwks"), true},
		{resourceRequest("system:serviceaccount:a:b system:serviceaccounts", "list", "certificates.k8s.io", "clustertrustbundles", "", ""), true},
		{resourceRequest("system:serviceaccount:a:b system:serviceaccounts", "create", "certificates.k8s.io", "clustertrustbundles", "", ""), false},
		{resourceRequest("anna"+authenticated, "list", "certificates.k8s.io", "clustertrustbundles", "", ""), false},
		{resourceRequest("system:kube-scheduler", "create", "", "pods/binding", "dev", "p"), true},
		{resourceRequest("system:kube-scheduler", "update", "coordination.k8s.io", "leases", "kube-system", "kube-scheduler"), true},
		{resourceRequest("system:kube-scheduler", "update", "coordination.k8s.io", "leases", "default", "other"), false},
		{resourceRequest("system:kube-scheduler", "get", "", "secrets", "dev", "s"), false},
		{resourceRequest("system:serviceaccount:kube-system:job-controller", "create", "", "pods", "dev", ""), true},
		{resourceRequest("system:serviceaccount:default:job-controller", "create", "", "pods", "dev", ""), false},
		{resourceRequest("system:node:n1 system:nodes", "get", "", "secrets", "dev", "s"), false},
		{resourceRequest("system:kube-controller-manager", "get", "", "configmaps", "kube-system", "extension-apiserver-authentication"), true},
		{resourceRequest("viewer", "list", "", "pods", "dev", ""), true},
		{resourceRequest("viewer", "get", "", "pods/log", "dev", "p"), true},
		{resourceRequest("viewer", "get", "", "secrets", "dev", "s"), false},
		{resourceRequest("viewer", "create", "", "pods", "dev", ""), false},
		{resourceRequest("viewer", "list", "", "pods", "prod", ""), false},
		{resourceRequest("editor", "list", "", "pods", "dev", ""), true},
		{resourceRequest("editor", "get", "", "secrets", "dev", "s"), true},
		{resourceRequest("editor", "patch", "apps", "deployments/scale", "dev", "d"), true},
		{resourceRequest("editor", "create", "", "pods/exec", "dev", "p"), true},
		{resourceRequest("editor", "create", rbacv1.GroupName, "rolebindings", "dev", ""), false},
		{resourceRequest("editor", "update", "", "endpoints", "dev", "e"), false},
		{resourceRequest("admin", "create", rbacv1.GroupName, "rolebindings", "dev", ""), true},
		{resourceRequest("admin", "list", "", "pods", "dev", ""), true},
		{resourceRequest("admin", "update", "", "resourcequotas", "dev", "q"), false},
		{resourceRequest("admin", "delete", "", "namespaces", "dev", "dev"), false},
	} {
		d, reason, err := a.Authorize(context.Background(), c.at)
		if (d == authorizer.DecisionAllow) != c.allow || err != nil {
			t.Errorf("%+v: %v %q %v", c.at, d, reason, err)
		}
	}
}

// view is part of edit, and edit of admin; an admin can give away all three and no more.
func TestUserRolesAreNested(t *testing.T) {
	m := bootstrapped()
	for _, c := range []struct{ owner, asks string }{{"cluster-admin", "admin"}, {"admin", "edit"}, {"edit", "view"}} {
		if ok, missing := validation.Covers(rulesIn(t, m, c.owner), rulesIn(t, m, c.asks)); !ok {
			t.Errorf("%s lacks of %s: %v", c.owner, c.asks, missing)
		}
		if ok, _ := validation.Covers(rulesIn(t, m, c.asks), rulesIn(t, m, c.owner)); ok {
			t.Errorf("%s has all of %s", c.asks, c.owner)
		}
	}
	m.put(bindIn("dev", "admins", "ClusterRole", "admin", userSubject("anna")))
	a := New(m)
	g := NewGuard(a, a)
	for role, may := range map[string]bool{"view": true, "edit": true, "admin": true, "cluster-admin": false, "system:node": false} {
		err := g.RoleBinding(context.Background(), writer("anna", "dev", ""), bindIn("dev", "b", "ClusterRole", role), nil)
		if (err == nil) != may {
			t.Errorf("%s: %v", role, err)
		}
	}
}

// Wildcards are for masters and for the few controllers that work on everything.
func TestWildcardsAreFew(t *testing.T) {
	for _, r := range Bootstrap().ClusterRoles {
		for _, p := range r.Rules {
			everyResource := strings.Contains(strings.Join(p.Resources, " ")+" ", "* ") && strings.Join(p.APIGroups, "") == "*"
			switch r.Name {
			case "cluster-admin", "system:kube-controller-manager", "system:controller:generic-garbage-collector",
				"system:controller:namespace-controller", "system:controller:resourcequota-controller":
			default:
				if everyResource {
					t.Errorf("%s has %v", r.Name, p)
				}
			}
		}
	}
}

func TestReconcileCompletes(t *testing.T) {
	m := bootstrapped()
	role := clusterRole("system:kube-dns", rule("list", core, "endpoints"), rule("get", core, "nodes"))
	role.Labels, role.Annotations, role.UID = map[string]string{"kubernetes.io/bootstrapping": "mine", "a": "b"}, nil, "u1"
	m.put(role)
	other := bindAll("cluster-admin", "view", userSubject("anna"))
	m.put(other)
	m.put(bindAll("system:discovery", "system:discovery", userSubject("anna")))
	kept := clusterRole("system:heapster")
	kept.Annotations[rbacv1.AutoUpdateAnnotationKey] = "false"
	m.put(kept)
	view := clusterRole("view", rule("get", core, "pods"))
	m.put(view)
	plain := made("system:basic-user")
	m.put(plain)

	list := Reconcile(m.Policy(), Bootstrap())
	if len(list) != 5 {
		t.Fatalf("%d writes: %v", len(list), list)
	}
	for _, w := range list {
		if w.Old == nil || w.Object == w.Old {
			t.Errorf("%v in place of %v", w.Object, w.Old)
		}
	}
	m.write(list)
	got, _ := find[*rbacv1.ClusterRole](m.Policy().ClusterRoles, "", "system:kube-dns")
	if got.UID != "u1" || got.Labels["kubernetes.io/bootstrapping"] != "mine" || got.Labels["a"] != "b" || got.Annotations[rbacv1.AutoUpdateAnnotationKey] != "true" {
		t.Errorf("%+v", got.ObjectMeta)
	}
	if len(got.Rules) != 4 || describeRule(&got.Rules[0]) != `{APIGroups:[""], Resources:["endpoints"], Verbs:["list"]}` ||
		describeRule(&got.Rules[2]) != `{APIGroups:[""], Resources:["endpoints"], Verbs:["watch"]}` ||
		describeRule(&got.Rules[3]) != `{APIGroups:[""], Resources:["services"], Verbs:["list" "watch"]}` {
		t.Errorf("%v", got.Rules)
	}
	if len(role.Rules) != 2 {
		t.Error("the old object was changed")
	}
	admins, _ := find[*rbacv1.ClusterRoleBinding](m.Policy().ClusterRoleBindings, "", "cluster-admin")
	if admins.RoleRef.Name != "cluster-admin" || len(admins.Subjects) != 1 || admins.Subjects[0].Name != "system:masters" {
		t.Errorf("a binding of another role: %+v", admins)
	}
	discovery, _ := find[*rbacv1.ClusterRoleBinding](m.Policy().ClusterRoleBindings, "", "system:discovery")
	if len(discovery.Subjects) != 2 {
		t.Errorf("a user's subject beside the cluster's: %+v", discovery.Subjects)
	}
	if got, _ := find[*rbacv1.ClusterRole](m.Policy().ClusterRoles, "", "view"); !aggregates(got) || len(got.Rules) != 1 {
		t.Errorf("view is made of others: %+v", got)
	}
	if got, _ := find[*rbacv1.ClusterRole](m.Policy().ClusterRoles, "", "system:basic-user"); aggregates(got) {
		t.Errorf("system:basic-user is not made of others: %+v", got)
	}
}

// TestReconcileIsIdempotent: whatever became of the objects, one round restores all that is wanted, takes away nothing that users
// added to a role that still is the same, and leaves nothing for a second.
func TestReconcileIsIdempotent(t *testing.T) {
	want := Bootstrap()
	whole := Reconcile(newMemory().Policy(), want)
	rapid.Check(t, func(t *rapid.T) {
		m := bootstrapped()
		for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(whole)-1), 0, 12).Draw(t, "damaged") {
			damage(t, m, whole[i].Object.DeepCopyObject().(object))
		}
		before := m.Policy()
		m.write(Reconcile(before, want))
		if again := Reconcile(m.Policy(), want); len(again) > 0 {
			t.Fatalf("a second time writes %v", again)
		}
		after := m.Policy()
		for _, w := range want.ClusterRoles {
			had, _ := find[*rbacv1.ClusterRole](before.ClusterRoles, "", w.Name)
			has, ok := find[*rbacv1.ClusterRole](after.ClusterRoles, "", w.Name)
			if !ok {
				t.Fatalf("%s is missing", w.Name)
			}
			if had != nil && had.Annotations[rbacv1.AutoUpdateAnnotationKey] == "false" {
				if had != has {
					t.Fatalf("%s was to be left alone", w.Name)
				}
				continue
			}
			if ok, missing := validation.Covers(has.Rules, w.Rules); !ok {
				t.Fatalf("%s lacks %v", w.Name, missing)
			}
			if had != nil && !equality.Semantic.DeepEqual(has.Rules[:len(had.Rules)], had.Rules) {
				t.Fatalf("%s had %v and has %v", w.Name, had.Rules, has.Rules)
			}
		}
	})
}

// damage does to an object what users do.
func damage(t *rapid.T, m *memory, o object) {
	switch rapid.IntRange(0, 4).Draw(t, "damage") {
	case 0:
		m.remove(o)
		return
	case 1:
		o.SetAnnotations(map[string]string{rbacv1.AutoUpdateAnnotationKey: rapid.SampledFrom([]string{"false", "true", ""}).Draw(t, "update")})
	case 2:
		o.SetLabels(nil)
	}
	rules, subjects := rapid.SliceOfN(anyRule, 0, 3).Draw(t, "rules"), rapid.SliceOfN(anySubject, 0, 3).Draw(t, "subjects")
	switch x := o.(type) {
	case *rbacv1.ClusterRole:
		x.Rules = append(rules, x.Rules[:min(1, len(x.Rules))]...)
		if rapid.Bool().Draw(t, "plain") {
			x.AggregationRule = nil
		}
	case *rbacv1.Role:
		x.Rules = rules
	case *rbacv1.ClusterRoleBinding:
		x.Subjects, x.RoleRef.Name = subjects, rapid.SampledFrom([]string{x.RoleRef.Name, "other"}).Draw(t, "role")
	case *rbacv1.RoleBinding:
		x.Subjects, x.RoleRef.Name = subjects, rapid.SampledFrom([]string{x.RoleRef.Name, "other"}).Draw(t, "role")
	}
	m.put(o)
}
