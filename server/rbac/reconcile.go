package rbac

import (
	"maps"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/component-helpers/auth/rbac/validation"
)

// Write is an object to be written in place of Old, or anew if Old is nil. What is new has no UID and no creation time yet.
type Write struct {
	Resource    schema.GroupResource
	Object, Old runtime.Object
}

// Reconcile says what must be written so that a policy has all that wanted has: objects that are missing, and in those that are there
// the rules, selectors, subjects, labels and annotations that are missing. What users added stays, and what they labelled or annotated
// otherwise. An object annotated with autoupdate "false" is left alone, whatever it lacks.
//
// After its result is written it has none any more. A role that is made of others gets no rules here, but by Aggregate.
func Reconcile(have Policy, want Objects) (list []Write) {
	list = append(list, reconcileAll(ClusterRoles, have.ClusterRoles, want.ClusterRoles, completeClusterRole)...)
	list = append(list, reconcileAll(ClusterRoleBindings, have.ClusterRoleBindings, want.ClusterRoleBindings,
		func(b, want *rbacv1.ClusterRoleBinding) {
			completeBinding(&b.RoleRef, &want.RoleRef, &b.Subjects, want.Subjects)
		})...)
	list = append(list, reconcileAll(Roles, have.Roles, want.Roles,
		func(r, want *rbacv1.Role) { r.Rules = completeRules(r.Rules, want.Rules) })...)
	return append(list, reconcileAll(RoleBindings, have.RoleBindings, want.RoleBindings,
		func(b, want *rbacv1.RoleBinding) {
			completeBinding(&b.RoleRef, &want.RoleRef, &b.Subjects, want.Subjects)
		})...)
}

// object is one of the four kinds.
type object interface {
	runtime.Object
	metav1.Object
}

func reconcileAll[P object](gr schema.GroupResource, have Table, want []P, complete func(obj, want P)) (list []Write) {
	for _, w := range want {
		old, ok := find[P](have, w.GetNamespace(), w.GetName())
		if !ok {
			list = append(list, Write{Resource: gr, Object: w})
			continue
		}
		if old.GetAnnotations()[rbacv1.AutoUpdateAnnotationKey] == "false" {
			continue
		}
		next := old.DeepCopyObject().(P)
		next.SetLabels(completeMap(next.GetLabels(), w.GetLabels()))
		next.SetAnnotations(completeMap(next.GetAnnotations(), w.GetAnnotations()))
		complete(next, w)
		if !equality.Semantic.DeepEqual(next, old) {
			list = append(list, Write{Resource: gr, Object: next, Old: old})
		}
	}
	return list
}

// completeMap adds the keys that are missing.
func completeMap(have, want map[string]string) map[string]string {
	out := make(map[string]string, len(have)+len(want))
	maps.Copy(out, want)
	maps.Copy(out, have)
	return out
}

func completeRules(have, want []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	_, missing := validation.Covers(have, want)
	return append(have, join(missing)...)
}

// completeClusterRole adds rules to a role with rules of its own, and selectors to one that is made of others. A role that is to have
// rules of its own is no longer made of others.
func completeClusterRole(r, want *rbacv1.ClusterRole) {
	if want.AggregationRule == nil {
		r.AggregationRule = nil
		r.Rules = completeRules(r.Rules, want.Rules)
		return
	}
	if r.AggregationRule == nil {
		r.AggregationRule = &rbacv1.AggregationRule{}
	}
	selectors := &r.AggregationRule.ClusterRoleSelectors
	for _, s := range want.AggregationRule.ClusterRoleSelectors {
		if !slices.ContainsFunc(*selectors, func(x metav1.LabelSelector) bool { return equality.Semantic.DeepEqual(x, s) }) {
			*selectors = append(*selectors, s)
		}
	}
}

// completeBinding adds subjects. A binding that gives another role is not the one that is wanted: it is replaced, subjects and all.
func completeBinding(ref, wantRef *rbacv1.RoleRef, subjects *[]rbacv1.Subject, want []rbacv1.Subject) {
	if *ref != *wantRef {
		*ref, *subjects = *wantRef, want
		return
	}
	for _, s := range want {
		if !slices.Contains(*subjects, s) {
			*subjects = append(*subjects, s)
		}
	}
}
