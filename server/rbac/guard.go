package rbac

import (
	"context"
	"errors"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/component-helpers/auth/rbac/validation"
)

// Verbs that let a user give away what he does not have.
const (
	verbEscalate = "escalate" // on a role: write any rules into it
	verbBind     = "bind"     // on a role: bind it to anybody
)

// everything is what somebody must have who makes a role of whatever other roles will come to hold.
var everything = []rbacv1.PolicyRule{
	{Verbs: []string{all}, APIGroups: []string{all}, Resources: []string{all}},
	{Verbs: []string{all}, NonResourceURLs: []string{all}},
}

// Guard keeps users who may write roles and bindings from giving others, or themselves, more than they have.
type Guard struct {
	policy *Authorizer
	// authorizer is whoever decides in the end, this policy being perhaps one of several.
	authorizer authorizer.UnconditionalAuthorizer
}

// NewGuard makes a Guard that compares by a policy and asks an authorizer for the verbs "escalate" and "bind".
func NewGuard(policy *Authorizer, all authorizer.UnconditionalAuthorizer) *Guard {
	return &Guard{policy, all}
}

// Writer is who writes, and where by his request's path: Name is empty if he posts a new object.
type Writer struct {
	User            user.Info
	Namespace, Name string
}

// Role says why a user may not write a role; nil if he may. old is nil if the role is new.
func (g *Guard) Role(ctx context.Context, w Writer, r, old *rbacv1.Role) error {
	if old != nil && onlyReleases(r, old) || g.mayEscalate(ctx, w, Roles) {
		return nil
	}
	if err := g.holds(w, r.Rules); err != nil {
		return apierrors.NewForbidden(Roles, r.Name, err)
	}
	return nil
}

// ClusterRole is Role for a role of the cluster. It also asks for everything from who writes a role made of others.
func (g *Guard) ClusterRole(ctx context.Context, w Writer, r, old *rbacv1.ClusterRole) error {
	if old != nil && onlyReleases(r, old) || g.mayEscalate(ctx, w, ClusterRoles) {
		return nil
	}
	if err := g.holds(w, r.Rules); err != nil {
		return apierrors.NewForbidden(ClusterRoles, r.Name, err)
	}
	if !aggregates(r) && (old == nil || !aggregates(old)) {
		return nil
	}
	if err := g.holds(w, everything); err != nil {
		return apierrors.NewForbidden(ClusterRoles, r.Name, errors.New("must have cluster-admin privileges to use the aggregationRule"))
	}
	return nil
}

// RoleBinding says why a user may not write a binding; nil if he may. old is nil if the binding is new.
func (g *Guard) RoleBinding(ctx context.Context, w Writer, b, old *rbacv1.RoleBinding) error {
	if old != nil && onlyReleases(b, old) {
		return nil
	}
	return g.bind(ctx, w, &b.RoleRef, RoleBindings, b.Name)
}

// ClusterRoleBinding is RoleBinding for a binding of the cluster.
func (g *Guard) ClusterRoleBinding(ctx context.Context, w Writer, b, old *rbacv1.ClusterRoleBinding) error {
	if old != nil && onlyReleases(b, old) {
		return nil
	}
	return g.bind(ctx, w, &b.RoleRef, ClusterRoleBindings, b.Name)
}

func (g *Guard) bind(ctx context.Context, w Writer, ref *rbacv1.RoleRef, gr schema.GroupResource, name string) error {
	if g.mayBind(ctx, w, ref) {
		return nil
	}
	rules, err := g.policy.roleRules(ref, w.Namespace)
	if err != nil {
		return err
	}
	if err := g.holds(w, rules); err != nil {
		return apierrors.NewForbidden(gr, name, err)
	}
	return nil
}

func (g *Guard) mayEscalate(ctx context.Context, w Writer, gr schema.GroupResource) bool {
	return g.may(ctx, w, authorizer.AttributesRecord{
		Verb: verbEscalate, APIGroup: gr.Group, APIVersion: all, Resource: gr.Resource, Name: w.Name})
}

// mayBind asks in the binding's namespace, so that somebody can be let bind a role of the cluster in one namespace only.
func (g *Guard) mayBind(ctx context.Context, w Writer, ref *rbacv1.RoleRef) bool {
	at := authorizer.AttributesRecord{Verb: verbBind, APIGroup: ref.APIGroup, Name: ref.Name}
	switch ref.Kind {
	case roleKind:
		at.Resource = Roles.Resource
	case clusterRoleKind:
		at.Resource = ClusterRoles.Resource
	}
	return g.may(ctx, w, at)
}

// may asks the authorizer. Those who are above the policy need not be asked about.
func (g *Guard) may(ctx context.Context, w Writer, at authorizer.AttributesRecord) bool {
	if slices.Contains(w.User.GetGroups(), user.SystemPrivilegedGroup) {
		return true
	}
	at.User, at.Namespace, at.ResourceRequest = w.User, w.Namespace, true
	decision, _, _ := g.authorizer.Authorize(ctx, at) // an error says why it is not allowed, or nothing that matters if it is
	return decision == authorizer.DecisionAllow
}

// holds says which rules the user does not have himself; nil if he has them all.
func (g *Guard) holds(w Writer, rules []rbacv1.PolicyRule) error {
	owned, unknown := g.policy.picture().rulesOf(w.User, w.Namespace)
	covered, missing := validation.Covers(owned, rules)
	if covered {
		return nil
	}
	text := fmt.Sprintf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
		w.User.GetName(), w.User.GetGroups(), describe(missing))
	if len(unknown) > 0 {
		text += fmt.Sprintf("; resolution errors: [%v]", utilerrors.NewAggregate(unknown))
	}
	return errors.New(text)
}

// aggregates says whether a role is made of others.
func aggregates(r *rbacv1.ClusterRole) bool {
	return r.AggregationRule != nil && len(r.AggregationRule.ClusterRoleSelectors) > 0
}

// onlyReleases says whether an update changes nothing but what the garbage collector needs to change before an object can go.
func onlyReleases(obj, old runtime.Object) bool {
	next := obj.DeepCopyObject()
	m, was := next.(metav1.Object), old.(metav1.Object)
	m.SetOwnerReferences(was.GetOwnerReferences())
	m.SetFinalizers(was.GetFinalizers())
	m.SetManagedFields(was.GetManagedFields())
	m.SetResourceVersion(was.GetResourceVersion()) // a wrong one fails by itself
	next.GetObjectKind().SetGroupVersionKind(old.GetObjectKind().GroupVersionKind())
	return equality.Semantic.DeepEqual(next, old)
}
