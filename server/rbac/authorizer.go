package rbac

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	rbacv1 "k8s.io/api/rbac/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Authorizer allows what the policy allows, and has no opinion on the rest.
type Authorizer struct {
	state   State
	current atomic.Pointer[picture]
	// making is held by who makes the next picture: the others wait for it instead of making it, too.
	making sync.Mutex
}

var (
	_ authorizer.Authorizer   = (*Authorizer)(nil)
	_ authorizer.RuleResolver = (*Authorizer)(nil)
)

// New makes an Authorizer of the policy in a state.
func New(state State) *Authorizer { return &Authorizer{state: state} }

// picture is of the policy as it is now, or was not before the call.
func (a *Authorizer) picture() *picture {
	if p := a.fresh(); p != nil {
		return p
	}
	a.making.Lock()
	defer a.making.Unlock()
	if p := a.fresh(); p != nil {
		return p
	}
	p := newPicture(a.state.Policy(), a.current.Load())
	a.current.Store(p)
	return p
}

// fresh is the last picture if nothing has changed since.
func (a *Authorizer) fresh() *picture {
	if p := a.current.Load(); p != nil && p.policy.Counts == a.state.Counts() {
		return p
	}
	return nil
}

// Authorize allows a request if a binding gives the user, or one of his groups, a role that allows it.
func (a *Authorizer) Authorize(_ context.Context, at authorizer.Attributes) (authorizer.Decision, string, error) {
	u := at.GetUser()
	if u == nil {
		return authorizer.DecisionNoOpinion, "", nil
	}
	var room [resourceBytes]byte
	p, namespace, r := a.picture(), at.GetNamespace(), newRequest(at, room[:0])
	if g := p.allow(u, namespace, &r); g != nil {
		return authorizer.DecisionAllow, g.reason(), nil
	}
	if !p.incomplete(namespace) {
		return authorizer.DecisionNoOpinion, "", nil
	}
	return authorizer.DecisionNoOpinion, missingReason(p, u, namespace), nil
}

// missingReason tells a user which of his roles are missing, since he might have been allowed by them.
func missingReason(p *picture, u user.Info, namespace string) string {
	_, missing := p.rulesOf(u, namespace)
	if len(missing) == 0 {
		return ""
	}
	return fmt.Sprintf("RBAC: %v", utilerrors.NewAggregate(missing))
}

// ConditionsAwareAuthorize is Authorize: roles have no conditions.
func (a *Authorizer) ConditionsAwareAuthorize(ctx context.Context, at authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(a.Authorize(ctx, at))
}

// EvaluateConditions refuses: no decision of this authorizer had conditions.
func (a *Authorizer) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (
	authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

// RulesFor lists what a user may do in a namespace. The error is about roles that are missing; the rest is listed nevertheless.
func (a *Authorizer) RulesFor(_ context.Context, u user.Info, namespace string) (
	[]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	rules, missing := a.picture().rulesOf(u, namespace)
	var resources []authorizer.ResourceRuleInfo
	var paths []authorizer.NonResourceRuleInfo
	for i := range rules {
		r := &rules[i]
		if len(r.Resources) > 0 {
			resources = append(resources, &authorizer.DefaultResourceRuleInfo{
				Verbs: r.Verbs, APIGroups: r.APIGroups, Resources: r.Resources, ResourceNames: r.ResourceNames})
		}
		if len(r.NonResourceURLs) > 0 {
			paths = append(paths, &authorizer.DefaultNonResourceRuleInfo{Verbs: r.Verbs, NonResourceURLs: r.NonResourceURLs})
		}
	}
	return resources, paths, false, utilerrors.NewAggregate(missing)
}

// roleRules gives the rules of the role that a binding in a namespace would name.
func (a *Authorizer) roleRules(ref *rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	r, err := a.picture().finder(namespace)(ref)
	if err != nil {
		return nil, err
	}
	return r.rules, nil
}
