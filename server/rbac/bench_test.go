package rbac

import (
	"context"
	"fmt"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/peapod-sh/peapod/fsm"
)

// busy is a cluster with a thousand namespaces, five thousand users and as many bindings.
func busy() (*fsm.FSM, *Authorizer) {
	f := fsm.New()
	for _, w := range Reconcile(newMemory().Policy(), Bootstrap()) {
		apply(f, w.Resource, w.Object)
	}
	var roles []*rbacv1.ClusterRole
	each(f.Table(ClusterRoles), func(r *rbacv1.ClusterRole) { roles = append(roles, r) })
	for _, r := range Aggregate(roles) {
		apply(f, ClusterRoles, r)
	}
	for i := range 5000 {
		role := []string{"view", "edit", "admin"}[i%3]
		apply(f, RoleBindings, bindIn(fmt.Sprintf("ns%d", i%1000), fmt.Sprintf("b%d", i), "ClusterRole", role, userSubject(fmt.Sprintf("u%d", i))))
	}
	for i := range 200 {
		apply(f, ClusterRoleBindings, bindAll(fmt.Sprintf("b%d", i), "system:node-proxier", accountSubject("kube-system", fmt.Sprintf("proxy%d", i))))
	}
	return f, New(newReplicated(f))
}

var questions = []struct {
	name  string
	at    authorizer.AttributesRecord
	allow bool
}{
	{"master", resourceRequest("root system:masters system:authenticated", "create", "apps", "deployments", "default", ""), true},
	{"controller", resourceRequest("system:serviceaccount:kube-system:job-controller system:serviceaccounts system:authenticated", "create", "", "pods", "ns1", ""), true},
	{"viewer", resourceRequest("u1002 team system:authenticated", "list", "", "pods", "ns2", ""), true},
	{"scale", resourceRequest("system:serviceaccount:kube-system:horizontal-pod-autoscaler system:serviceaccounts system:authenticated", "update", "apps", "deployments/scale", "ns1", "d"), true},
	{"discovery", pathRequest("u2 team system:authenticated", "get", "/apis/apps/v1"), true},
	{"denied", resourceRequest("u1002 team system:authenticated", "delete", "", "nodes", "ns2", "n"), false},
}

// TestAuthorizingTakesNoMemory: a decision is asked for by every request, so it must not make work for the garbage collector.
func TestAuthorizingTakesNoMemory(t *testing.T) {
	_, a := busy()
	ctx := context.Background()
	for _, q := range questions {
		var d authorizer.Decision
		at := authorizer.Attributes(&q.at)
		n := testing.AllocsPerRun(100, func() { d, _, _ = a.Authorize(ctx, at) })
		if n > 0 || (d == authorizer.DecisionAllow) != q.allow {
			t.Errorf("%s: %v with %v allocations", q.name, d, n)
		}
	}
}

func BenchmarkAuthorize(b *testing.B) {
	_, a := busy()
	ctx := context.Background()
	for _, q := range questions {
		b.Run(q.name, func(b *testing.B) {
			at := authorizer.Attributes(&q.at)
			b.ReportAllocs()
			for b.Loop() {
				if d, _, _ := a.Authorize(ctx, at); (d == authorizer.DecisionAllow) != q.allow {
					b.Fatal(d)
				}
			}
		})
	}
}

// BenchmarkAfterAChange is the first decision after a write to the policy.
func BenchmarkAfterAChange(b *testing.B) {
	for _, c := range []struct {
		name     string
		resource schema.GroupResource
		written  runtime.Object
	}{
		{"rolebinding", RoleBindings, bindIn("ns1", "x", "ClusterRole", "view")},
		{"clusterrole", ClusterRoles, clusterRole("x")},
	} {
		b.Run(c.name, func(b *testing.B) {
			f, a := busy()
			at := authorizer.Attributes(&questions[2].at)
			b.ReportAllocs()
			for b.Loop() {
				apply(f, c.resource, c.written)
				if d, _, _ := a.Authorize(context.Background(), at); d != authorizer.DecisionAllow {
					b.Fatal(d)
				}
			}
		})
	}
}
