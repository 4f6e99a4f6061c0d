package rbac

import (
	"context"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// guarded is a policy in which anna may write roles and bindings, read pods everywhere and write them in dev.
func guarded() (*memory, *Guard) {
	m := newMemory(
		clusterRole("admin", rule(readWrite, rbacv1.GroupName, "roles rolebindings clusterroles clusterrolebindings")),
		clusterRole("reader", rule("get list", core, "pods"), paths("get", "/healthz")),
		clusterRole("all", rule(all, all, all), paths(all, all)),
		namespaceRole("dev", "writer", rule("create delete", core, "pods")),
		namespaceRole("dev", "secrets", rule("get list", core, "secrets")),
		bindAll("admins", "admin", userSubject("anna")),
		bindAll("readers", "reader", userSubject("anna")),
		bindIn("dev", "writers", "Role", "writer", userSubject("anna")),
		bindAll("roots", "all", userSubject("root")),
	)
	a := New(m)
	return m, NewGuard(a, a)
}

func writer(who, namespace, name string) Writer { return Writer{userNamed(who), namespace, name} }

func checkError(t *testing.T, what string, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("%s\ngot  %s\nwant %s", what, got, want)
	}
	if err != nil && !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
		t.Errorf("%s: %T is no answer of the API", what, err)
	}
}

const attempt = `is attempting to grant RBAC permissions not currently held:` + "\n"

func TestWritingRoles(t *testing.T) {
	ctx := context.Background()
	m, g := guarded()
	check := func(what string, w Writer, r, old *rbacv1.Role, want string) {
		t.Helper()
		checkError(t, what, g.Role(ctx, w, r, old), want)
	}
	const forbidden = `roles.rbac.authorization.k8s.io "r" is forbidden: user "anna" (groups=["g1" "g2"]) ` + attempt
	anna := writer("anna g1 g2", "dev", "")
	own := namespaceRole("dev", "r", rule("get create", core, "pods"))
	check("what she has", anna, own, nil, "")
	check("what she has elsewhere", writer("anna g1 g2", "prod", ""), own, nil, forbidden+`{APIGroups:[""], Resources:["pods"], Verbs:["create"]}`)
	more := namespaceRole("dev", "r", rule("get list", "core apps", "secrets pods"), rule("delete", core, "configmaps", "a", "b"), rule("watch", core, "secrets"))
	check("more", anna, more, nil, forbidden+
		`{APIGroups:[""], Resources:["configmaps"], ResourceNames:["a"], Verbs:["delete"]}`+"\n"+
		`{APIGroups:[""], Resources:["configmaps"], ResourceNames:["b"], Verbs:["delete"]}`+"\n"+
		`{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list" "watch"]}`+"\n"+
		`{APIGroups:["apps"], Resources:["pods"], Verbs:["get" "list"]}`+"\n"+
		`{APIGroups:["apps"], Resources:["secrets"], Verbs:["get" "list"]}`)
	check("more, by root", writer("root", "dev", ""), more, nil, "")
	check("more, by a master", writer("otto system:masters", "dev", ""), more, nil, "")
	check("an update to more", anna, more, own, forbidden+`{APIGroups:[""], Resources:["configmaps"], ResourceNames:["a"], Verbs:["delete"]}`+"\n"+
		`{APIGroups:[""], Resources:["configmaps"], ResourceNames:["b"], Verbs:["delete"]}`+"\n"+
		`{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list" "watch"]}`+"\n"+
		`{APIGroups:["apps"], Resources:["pods"], Verbs:["get" "list"]}`+"\n"+
		`{APIGroups:["apps"], Resources:["secrets"], Verbs:["get" "list"]}`)
	released := more.DeepCopy()
	released.Finalizers, released.ResourceVersion = []string{"x/y"}, "7"
	released.OwnerReferences = []metav1.OwnerReference{{Name: "x"}}
	check("an update for the garbage collector", anna, more, released, "")
	labelled := more.DeepCopy()
	labelled.Labels["a"] = "b"
	if err := g.Role(ctx, anna, labelled, more); err == nil {
		t.Error("whoever changes more than finalizers must have what the role gives")
	}

	m.put(bindAll("lost", "gone", userSubject("anna")))
	check("with a role that is missing", anna, namespaceRole("dev", "r", rule("get", core, "secrets")), nil, forbidden+
		`{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}; resolution errors: [clusterrole.rbac.authorization.k8s.io "gone" not found]`)

	m.put(clusterRole("escalator", rule("escalate", rbacv1.GroupName, "roles", "r")))
	m.put(bindIn("dev", "escalators", "ClusterRole", "escalator", userSubject("anna")))
	check("escalating by name", writer("anna", "dev", "r"), more, nil, "")
	if g.Role(ctx, writer("anna", "dev", ""), more, nil) == nil || g.Role(ctx, writer("anna", "prod", "r"), more, nil) == nil {
		t.Error("escalate was allowed for one name in one namespace")
	}
}

func TestWritingClusterRoles(t *testing.T) {
	ctx := context.Background()
	_, g := guarded()
	check := func(what string, w Writer, r, old *rbacv1.ClusterRole, want string) {
		t.Helper()
		checkError(t, what, g.ClusterRole(ctx, w, r, old), want)
	}
	anna, root := writer("anna", "", ""), writer("root", "", "")
	const forbidden = `clusterroles.rbac.authorization.k8s.io "r" is forbidden: `
	const asAnna = forbidden + `user "anna" (groups=[]) ` + attempt
	own := clusterRole("r", rule("get", core, "pods"), paths("get", "/healthz"))
	check("what she has", anna, own, nil, "")
	check("other paths", anna, clusterRole("r", paths("get", "/healthz/*", "/livez")), nil,
		asAnna+`{NonResourceURLs:["/healthz/*"], Verbs:["get"]}`+"\n"+`{NonResourceURLs:["/livez"], Verbs:["get"]}`)
	check("what she has in dev only", anna, clusterRole("r", rule("create", core, "pods")), nil,
		asAnna+`{APIGroups:[""], Resources:["pods"], Verbs:["create"]}`)
	aggregated := made("r")
	const aggregation = forbidden + "must have cluster-admin privileges to use the aggregationRule"
	check("made of others", anna, aggregated, nil, aggregation)
	check("no longer made of others", anna, own, aggregated, aggregation)
	check("made of others from now on", anna, aggregated, own, aggregation)
	check("made of others, by root", root, aggregated, nil, "")
	check("made of others, by a master", writer("otto system:masters", "", ""), aggregated, nil, "")
	check("an update for the garbage collector", anna, aggregated, aggregated.DeepCopy(), "")
	check("everything, by root", root, clusterRole("r", everything...), own, "")
}

func TestWritingBindings(t *testing.T) {
	ctx := context.Background()
	m, g := guarded()
	inDev := func(what string, w Writer, kind, role, want string) {
		t.Helper()
		checkError(t, what, g.RoleBinding(ctx, w, bindIn(w.Namespace, "b", kind, role), nil), want)
	}
	everywhere := func(what string, w Writer, role, want string) {
		t.Helper()
		checkError(t, what, g.ClusterRoleBinding(ctx, w, bindAll("b", role), nil), want)
	}
	anna, prod, cluster := writer("anna", "dev", ""), writer("anna", "prod", ""), writer("anna", "", "")
	const forbidden = `rolebindings.rbac.authorization.k8s.io "b" is forbidden: user "anna" (groups=[]) ` + attempt
	inDev("what she has", anna, "Role", "writer", "")
	inDev("what she has", anna, "ClusterRole", "reader", "")
	inDev("what she has not", anna, "Role", "secrets", forbidden+`{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}`)
	inDev("everything", anna, "ClusterRole", "all", forbidden+
		`{APIGroups:["*"], Resources:["*"], Verbs:["*"]}`+"\n"+`{NonResourceURLs:["*"], Verbs:["*"]}`)
	inDev("a role that is not there", anna, "Role", "gone", `role.rbac.authorization.k8s.io "gone" not found`)
	inDev("a role of another namespace", prod, "Role", "writer", `role.rbac.authorization.k8s.io "writer" not found`)
	inDev("a role that is not there, by a master", writer("otto system:masters", "dev", ""), "Role", "gone", "")
	everywhere("what she has", cluster, "reader", "")
	everywhere("everything", cluster, "all", `clusterrolebindings.rbac.authorization.k8s.io "b" is forbidden: user "anna" (groups=[]) `+attempt+
		`{APIGroups:["*"], Resources:["*"], Verbs:["*"]}`+"\n"+`{NonResourceURLs:["*"], Verbs:["*"]}`)
	everywhere("everything, by root", writer("root", "", ""), "all", "")

	m.put(clusterRole("binder", rule("bind", rbacv1.GroupName, "clusterroles", "all")))
	m.put(bindIn("dev", "binders", "ClusterRole", "binder", userSubject("anna")))
	inDev("what she may bind", anna, "ClusterRole", "all", "")
	if g.RoleBinding(ctx, prod, bindIn("prod", "b", "ClusterRole", "all"), nil) == nil || g.ClusterRoleBinding(ctx, cluster, bindAll("b", "all"), nil) == nil {
		t.Error("bind was allowed in one namespace")
	}

	old := bindAll("b", "all", userSubject("x"))
	released := old.DeepCopy()
	released.Finalizers = []string{"x/y"}
	checkError(t, "for the garbage collector", g.ClusterRoleBinding(ctx, cluster, old, released), "")
	more := old.DeepCopy()
	more.Subjects = append(more.Subjects, userSubject("anna"))
	if g.ClusterRoleBinding(ctx, cluster, more, old) == nil {
		t.Error("a further subject gets the role, too")
	}
	here := bindIn("dev", "b", "Role", "secrets", userSubject("x"))
	checkError(t, "for the garbage collector", g.RoleBinding(ctx, anna, here, here.DeepCopy()), "")
}
