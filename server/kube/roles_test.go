package kube_test

import (
	"context"
	"crypto/x509/pkix"
	"strings"
	"sync/atomic"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/peapod-sh/peapod/server/kube"
	"github.com/peapod-sh/peapod/server/kube/kubetest"
	"github.com/peapod-sh/peapod/server/rbac"
)

// storePolicy is the policy that a test's store has.
type storePolicy struct {
	*kubetest.Store
	asked atomic.Uint64
}

// policyTable is one resource of the store.
type policyTable struct {
	kube.Snapshot
	get func(namespace, name string) (runtime.Object, bool)
}

func (t policyTable) Get(namespace, name string) (runtime.Object, bool) {
	return t.get(namespace, name)
}

func (p *storePolicy) table(gr schema.GroupResource) rbac.Table {
	return policyTable{p.Snapshot(gr), func(namespace, name string) (runtime.Object, bool) { return p.Store.Get(gr, namespace, name) }}
}

// Counts is a new one each time, so that nothing is kept.
func (p *storePolicy) Counts() rbac.Counts {
	n := p.asked.Add(1)
	return rbac.Counts{Roles: n, RoleBindings: n, ClusterRoles: n, ClusterRoleBindings: n}
}

func (p *storePolicy) Policy() rbac.Policy {
	return rbac.Policy{Counts: p.Counts(), Roles: p.table(rbac.Roles), RoleBindings: p.table(rbac.RoleBindings),
		ClusterRoles: p.table(rbac.ClusterRoles), ClusterRoleBindings: p.table(rbac.ClusterRoleBindings)}
}

func withPolicy(c *kube.Config) { c.Policy = &storePolicy{Store: c.Store.(*kubetest.Store)} }

// TestRolesDecide: Invariant 64, and that roles give what they say.
func TestRolesDecide(t *testing.T) {
	h := start(t, withPolicy)
	ctx := context.Background()
	r := h.client.RbacV1()
	jane := kubernetes.NewForConfigOrDie(h.user(pkix.Name{CommonName: "jane"}))
	read := rbacv1.PolicyRule{Verbs: []string{"get", "list"}, APIGroups: []string{""}, Resources: []string{"configmaps"}}
	grant := rbacv1.PolicyRule{Verbs: []string{"create", "update", "patch"}, APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles", "rolebindings"}}
	ask := rbacv1.PolicyRule{Verbs: []string{"create"}, APIGroups: []string{authorizationv1.GroupName}, Resources: []string{"selfsubjectrulesreviews"}}
	if _, err := jane.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `User "jane" cannot list resource "configmaps" in API group "" in the namespace "default"`) {
		t.Fatalf("without a role: %v", err)
	}
	if _, err := r.ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, Rules: []rbacv1.PolicyRule{read, grant, ask}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "jane"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "jane"}},
		RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "reader"}}
	if _, err := r.RoleBindings("default").Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := jane.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{}); err != nil {
		t.Errorf("with a role: %v", err)
	}
	if _, err := jane.CoreV1().ConfigMaps("other").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("in another namespace: %v", err)
	}
	// Giving away what she has, and what she has not.
	roles := jane.RbacV1().Roles("default")
	if _, err := roles.Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "same"}, Rules: []rbacv1.PolicyRule{read}}, metav1.CreateOptions{}); err != nil {
		t.Errorf("a role of what she has: %v", err)
	}
	more := rbacv1.PolicyRule{Verbs: []string{"delete"}, APIGroups: []string{""}, Resources: []string{"pods"}}
	if _, err := roles.Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "more"}, Rules: []rbacv1.PolicyRule{more}}, metav1.CreateOptions{}); !apierrors.IsForbidden(err) ||
		!strings.Contains(err.Error(), "is attempting to grant RBAC permissions not currently held") {
		t.Errorf("a role of more: %v", err)
	}
	patch := []byte(`{"rules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}]}`)
	if _, err := roles.Patch(ctx, "same", types.MergePatchType, patch, metav1.PatchOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("more by a patch: %v", err)
	}
	apply := []byte(`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"applied"},"rules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}]}`)
	if _, err := roles.Patch(ctx, "applied", types.ApplyPatchType, apply, metav1.PatchOptions{FieldManager: "m"}); !apierrors.IsForbidden(err) {
		t.Errorf("more by applying: %v", err)
	}
	review, err := jane.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"}}, metav1.CreateOptions{})
	if err == nil || !apierrors.IsForbidden(err) { // a namespace's role does not reach a resource of the cluster
		t.Errorf("%+v, %v", review, err)
	}
	if review, err = h.client.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"}}, metav1.CreateOptions{}); err != nil || review.Status.Incomplete {
		t.Errorf("%+v, %v", review, err)
	}
}

// Without credentials one is system:anonymous, who may do what he is given; with bad ones one is nobody.
func TestWire0Anonymous(t *testing.T) {
	h := start(t, withPolicy, withTokens(t))
	ctx := context.Background()
	config := rest.AnonymousClientConfig(h.config)
	nobody := kubernetes.NewForConfigOrDie(config)
	if _, err := nobody.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "system:anonymous") {
		t.Errorf("%v", err)
	}
	r := h.client.RbacV1()
	if _, err := r.ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "looks"},
		Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{"/version"}}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "looks"}, Subjects: []rbacv1.Subject{{Kind: "Group", Name: "system:unauthenticated"}},
		RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "looks"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := nobody.Discovery().ServerVersion(); err != nil {
		t.Error(err)
	}
	config.BearerToken = "rubbish"
	if _, err := kubernetes.NewForConfigOrDie(config).Discovery().ServerVersion(); !apierrors.IsUnauthorized(err) {
		t.Errorf("with a bad token: %v", err)
	}
}
