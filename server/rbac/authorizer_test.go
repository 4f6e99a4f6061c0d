package rbac

import (
	"context"
	"strings"
	"sync"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

func userSubject(name string) rbacv1.Subject  { return component(name) }
func groupSubject(name string) rbacv1.Subject { return groups(name)[0] }

func accountSubject(namespace, name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}
}

func bindAll(name, role string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	b := clusterBinding(role, subjects...)
	b.Name = name
	return b
}

func bindIn(namespace, name, kind, role string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
	b := namespaceBinding(namespace, name, role, subjects...)
	b.RoleRef.Kind = kind
	return b
}

// userNamed makes a user of "name group group".
func userNamed(text string) user.Info {
	f := strings.Fields(text)
	return &user.DefaultInfo{Name: f[0], Groups: f[1:]}
}

// resourceRequest asks for a resource, written "pods" or "pods/log".
func resourceRequest(who, verb, group, resource, namespace, name string) authorizer.AttributesRecord {
	r, sub, _ := strings.Cut(resource, "/")
	return authorizer.AttributesRecord{User: userNamed(who), Verb: verb, APIGroup: group, Resource: r, Subresource: sub,
		Namespace: namespace, Name: name, ResourceRequest: true}
}

func pathRequest(who, verb, path string) authorizer.AttributesRecord {
	return authorizer.AttributesRecord{User: userNamed(who), Verb: verb, Path: path}
}

func checkAllowed(t *testing.T, a *Authorizer, at authorizer.AttributesRecord, want string) {
	t.Helper()
	d, reason, err := a.Authorize(context.Background(), &at)
	if d != authorizer.DecisionAllow || reason != want || err != nil {
		t.Errorf("%v\ngot  %v, %q, %v\nwant Allow, %q", at, d, reason, err, want)
	}
}

func checkDenied(t *testing.T, a *Authorizer, at authorizer.AttributesRecord, want string) {
	t.Helper()
	d, reason, err := a.Authorize(context.Background(), &at)
	if d != authorizer.DecisionNoOpinion || reason != want || err != nil {
		t.Errorf("%v\ngot  %v, %q, %v\nwant NoOpinion, %q", at, d, reason, err, want)
	}
}

func TestAuthorize(t *testing.T) {
	a := New(newMemory(
		clusterRole("reader", rule("get list", "core apps", "pods pods/log deployments"), rule("get", core, "secrets", "one", "two")),
		clusterRole("scaler", rule("update", all, "*/scale")),
		clusterRole("root", rule(all, all, all), paths(all, all)),
		clusterRole("looker", paths("get", "/healthz", "/metrics/*")),
		clusterRole("nothing"),
		namespaceRole("dev", "writer", rule("create", core, "pods")),
		bindAll("readers", "reader", userSubject("anna"), groupSubject("readers")),
		bindAll("scalers", "scaler", accountSubject("dev", "robot")),
		bindAll("lookers", "looker", groupSubject("lookers")),
		bindAll("nobody", "nothing", userSubject("anna")),
		bindIn("dev", "writers", "Role", "writer", groupSubject("writers"), rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Name: "robot"}),
		bindIn("dev", "roots", "ClusterRole", "root", userSubject("otto")),
	))
	const robot = "system:serviceaccount:dev:robot"
	const readers = `RBAC: allowed by ClusterRoleBinding "readers" of ClusterRole "reader" to `
	for _, c := range []struct {
		at   authorizer.AttributesRecord
		want string // the reason of an allowed request
	}{
		{resourceRequest("anna", "get", "", "pods", "dev", "p"), readers + `User "anna"`},
		{resourceRequest("anna", "get", "", "pods", "", ""), readers + `User "anna"`},
		{resourceRequest("bert readers", "list", "apps", "deployments", "dev", ""), readers + `Group "readers"`},
		{resourceRequest("bert others readers", "get", "", "pods/log", "dev", "p"), readers + `Group "readers"`},
		{resourceRequest("anna", "get", "", "pods/status", "dev", "p"), ""},
		{resourceRequest("anna", "delete", "", "pods", "dev", "p"), ""},
		{resourceRequest("anna", "get", "batch", "pods", "dev", "p"), ""},
		{resourceRequest("readers", "get", "", "pods", "dev", "p"), ""},
		{resourceRequest("anna", "get", "", "secrets", "dev", "two"), readers + `User "anna"`},
		{resourceRequest("anna", "get", "", "secrets", "dev", "three"), ""},
		{resourceRequest("anna", "get", "", "secrets", "dev", ""), ""},
		{resourceRequest(robot, "update", "apps", "deployments/scale", "x", "d"),
			`RBAC: allowed by ClusterRoleBinding "scalers" of ClusterRole "scaler" to ServiceAccount "robot/dev"`},
		{resourceRequest(robot, "update", "apps", "deployments", "x", "d"), ""},
		{resourceRequest("system:serviceaccount:prod:robot", "update", "apps", "deployments/scale", "x", "d"), ""},
		{resourceRequest("carl writers", "create", "", "pods", "dev", ""), `RBAC: allowed by RoleBinding "writers/dev" of Role "writer" to Group "writers"`},
		{resourceRequest(robot, "create", "", "pods", "dev", ""), `RBAC: allowed by RoleBinding "writers/dev" of Role "writer" to ServiceAccount "robot/dev"`},
		{resourceRequest("carl writers", "create", "", "pods", "prod", ""), ""},
		{resourceRequest("carl writers", "create", "", "pods", "", ""), ""},
		{resourceRequest("otto", "frobnicate", "x.io", "things/part", "dev", "a"), `RBAC: allowed by RoleBinding "roots/dev" of ClusterRole "root" to User "otto"`},
		{resourceRequest("otto", "get", "", "pods", "prod", "p"), ""},
		{pathRequest("otto", "get", "/healthz"), ""},
		{pathRequest("dora lookers", "get", "/healthz"), `RBAC: allowed by ClusterRoleBinding "lookers" of ClusterRole "looker" to Group "lookers"`},
		{pathRequest("dora lookers", "get", "/metrics/slis"), `RBAC: allowed by ClusterRoleBinding "lookers" of ClusterRole "looker" to Group "lookers"`},
		{pathRequest("dora lookers", "get", "/metrics"), ""},
		{pathRequest("dora lookers", "post", "/healthz"), ""},
		{pathRequest("dora lookers", "get", "/healthz/x"), ""},
	} {
		if c.want != "" {
			checkAllowed(t, a, c.at, c.want)
		} else {
			checkDenied(t, a, c.at, "")
		}
	}
	checkDenied(t, a, authorizer.AttributesRecord{Verb: "get", Path: "/"}, "")
}

// An access review can ask about "pods/log" as if it were a resource, and a rule can have a slash at its end.
func TestOddResources(t *testing.T) {
	a := New(newMemory(
		clusterRole("logs", rule("get", core, "pods/log pods/ */scale")), bindAll("logs", "logs", userSubject("anna")),
		clusterRole("slash", rule("get", core, "*/")), bindAll("slash", "slash", userSubject("otto"))))
	odd := resourceRequest("anna", "get", "", "", "dev", "p")
	for name, allowed := range map[string]bool{"pods/log": true, "pods/": true, "pods/exec": false, "pods": false, "x/scale": false, "*/scale": true} {
		odd.Resource = name
		if d, _, _ := a.Authorize(context.Background(), odd); (d == authorizer.DecisionAllow) != allowed {
			t.Errorf("anna, %s: %v", name, d)
		}
	}
	odd.User = userNamed("otto")
	for name, allowed := range map[string]bool{"*/": true, "*": false, "pods": false, "pods/": false} {
		odd.Resource = name
		if d, _, _ := a.Authorize(context.Background(), odd); (d == authorizer.DecisionAllow) != allowed {
			t.Errorf("otto, %s: %v", name, d)
		}
	}
}

func TestMissingRolesAreNamed(t *testing.T) {
	a := New(newMemory(
		clusterRole("reader", rule("get", core, "pods")),
		bindAll("a", "gone", userSubject("anna"), groupSubject("g")),
		bindAll("b", "reader", userSubject("anna")),
		bindIn("dev", "c", "Role", "lost", groupSubject("g")),
		bindIn("dev", "d", "ClusterRole", "gone", userSubject("anna")),
		bindIn("dev", "e", "Robe", "x", userSubject("otto")),
	))
	const gone, lost = `clusterrole.rbac.authorization.k8s.io "gone" not found`, `role.rbac.authorization.k8s.io "lost" not found`
	checkAllowed(t, a, resourceRequest("anna g", "get", "", "pods", "dev", ""), `RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "reader" to User "anna"`)
	checkDenied(t, a, resourceRequest("anna g", "list", "", "pods", "", ""), "RBAC: "+gone)
	checkDenied(t, a, resourceRequest("anna g", "list", "", "pods", "prod", ""), "RBAC: "+gone)
	checkDenied(t, a, resourceRequest("anna g", "list", "", "pods", "dev", ""), "RBAC: ["+gone+", "+lost+"]")
	checkDenied(t, a, resourceRequest("otto", "list", "", "pods", "dev", ""), `RBAC: unsupported role reference kind: "Robe"`)
	checkDenied(t, a, resourceRequest("berta", "list", "", "pods", "dev", ""), "")

	_, _, incomplete, err := a.RulesFor(context.Background(), userNamed("anna g"), "dev")
	if incomplete || err == nil || err.Error() != "["+gone+", "+lost+"]" {
		t.Errorf("%v, %v", incomplete, err)
	}
}

func TestRulesFor(t *testing.T) {
	a := New(newMemory(
		clusterRole("all", rule("get", core, "pods", "x"), paths("get", "/healthz")),
		namespaceRole("dev", "own", rule("create", "apps", "deployments")),
		bindAll("a", "all", userSubject("anna"), groupSubject("g")),
		bindIn("dev", "b", "Role", "own", groupSubject("g")),
	))
	resources, paths, incomplete, err := a.RulesFor(context.Background(), userNamed("anna g"), "dev")
	if incomplete || err != nil || len(resources) != 2 || len(paths) != 1 {
		t.Fatalf("%v %v %v %v", resources, paths, incomplete, err)
	}
	first, second := resources[0], resources[1]
	if first.GetVerbs()[0] != "get" || first.GetResourceNames()[0] != "x" || second.GetAPIGroups()[0] != "apps" || second.GetResources()[0] != "deployments" {
		t.Errorf("%v %v", first, second)
	}
	if paths[0].GetNonResourceURLs()[0] != "/healthz" || paths[0].GetVerbs()[0] != "get" {
		t.Error(paths[0])
	}
	if resources, _, _, _ := a.RulesFor(context.Background(), userNamed("anna g"), ""); len(resources) != 1 {
		t.Errorf("without a namespace: %v", resources)
	}
}

func TestConditionsAreRefused(t *testing.T) {
	a := New(newMemory(clusterRole("r", rule("get", core, "pods")), bindAll("b", "r", userSubject("anna"))))
	at := resourceRequest("anna", "get", "", "pods", "", "")
	if d := a.ConditionsAwareAuthorize(context.Background(), at); !d.IsAllow() {
		t.Errorf("%v", d)
	}
	d, _, err := a.EvaluateConditions(context.Background(), authorizer.ConditionsAwareDecision{}, nil)
	if d != authorizer.DecisionDeny || err == nil {
		t.Errorf("%v, %v", d, err)
	}
}

// A rule without verbs allows nothing, however it came past validation.
func TestRuleWithoutVerbs(t *testing.T) {
	a := New(newMemory(bindAll("b", "r", userSubject("anna")), clusterRole("r",
		rbacv1.PolicyRule{APIGroups: []string{all}, Resources: []string{all}}, rbacv1.PolicyRule{NonResourceURLs: []string{all}})))
	checkDenied(t, a, resourceRequest("anna", "get", "", "pods", "", ""), "")
	checkDenied(t, a, pathRequest("anna", "get", "/"), "")
}

// Names of any length are compared whole.
func TestLongResources(t *testing.T) {
	long := strings.Repeat("x", resourceBytes)
	a := New(newMemory(clusterRole("r", rule("get", core, long+"/"+long), rule("list", core, "*/"+long)), bindAll("b", "r", userSubject("anna"))))
	const by = `RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to User "anna"`
	checkAllowed(t, a, resourceRequest("anna", "get", "", long+"/"+long, "", ""), by)
	checkAllowed(t, a, resourceRequest("anna", "list", "", "pods/"+long, "", ""), by)
	checkDenied(t, a, resourceRequest("anna", "get", "", long+"/"+long+"x", "", ""), "")
	checkDenied(t, a, resourceRequest("anna", "list", "", "pods/"+long[1:], "", ""), "")
}

// TestChangesAreSeen: what was decided by an older policy is decided anew, whichever table changed.
func TestChangesAreSeen(t *testing.T) {
	m := newMemory()
	a := New(m)
	ask := resourceRequest("anna", "get", "", "pods", "dev", "")
	role, clusterwide := namespaceRole("dev", "r", rule("get", core, "pods")), clusterRole("r", rule("get", core, "pods"))
	inDev, everywhere := bindIn("dev", "b", "Role", "r", userSubject("anna")), bindAll("b", "r", userSubject("anna"))
	const byRole, byCluster = `RBAC: allowed by RoleBinding "b/dev" of Role "r" to User "anna"`, `RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to User "anna"`

	checkDenied(t, a, ask, "")
	m.put(role)
	checkDenied(t, a, ask, "")
	m.put(inDev)
	checkAllowed(t, a, ask, byRole)
	m.put(namespaceRole("dev", "r", rule("list", core, "pods")))
	checkDenied(t, a, ask, "")
	m.put(everywhere)
	checkDenied(t, a, ask, `RBAC: clusterrole.rbac.authorization.k8s.io "r" not found`)
	m.put(clusterwide)
	checkAllowed(t, a, ask, byCluster)
	m.remove(everywhere)
	checkDenied(t, a, ask, "")
	m.put(role)
	checkAllowed(t, a, ask, byRole)
	m.remove(inDev)
	checkDenied(t, a, ask, "")
}

// What is kept of namespaces is bounded by those that have bindings, not by those that users name.
func TestUnknownNamespacesAreNotKept(t *testing.T) {
	a := New(newMemory(bindIn("dev", "b", "Role", "r")))
	for _, ns := range []string{"dev", "x", "y", "z"} {
		checkDenied(t, a, resourceRequest("anna", "get", "", "pods", ns, ""), "")
	}
	if kept := a.picture().namespaces; len(kept) != 1 {
		t.Errorf("%d namespaces are kept", len(kept))
	}
}

// TestChangesWhileAsked runs under the race detector, too: decisions are always by one of the policies that there were.
func TestChangesWhileAsked(t *testing.T) {
	m := newMemory()
	a := New(m)
	ask := resourceRequest("anna g", "get", "", "pods", "dev", "")
	full, empty := clusterRole("r", rule("get", core, "pods")), clusterRole("r")
	m.put(empty)
	m.put(bindIn("dev", "b", "ClusterRole", "r", groupSubject("g")))
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				// The role is full only while the binding is not there, so nobody is ever allowed.
				if d, reason, _ := a.Authorize(context.Background(), &ask); d != authorizer.DecisionNoOpinion {
					t.Errorf("%v: %s", d, reason)
					return
				}
			}
		})
	}
	binding := bindIn("dev", "b", "ClusterRole", "r", groupSubject("g"))
	for range 2000 {
		m.remove(binding)
		m.put(full)
		m.put(empty)
		m.put(binding)
	}
	close(stop)
	readers.Wait()
}
