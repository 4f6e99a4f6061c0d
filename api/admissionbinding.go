package api

import (
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	columns := []metav1.TableColumnDefinition{
		nameColumn,
		textColumn("PolicyName", "The policy that is bound."),
		textColumn("ParamRef", "What the policy takes its parameters from."),
		ageColumn,
	}
	registerAdmission(&Kind{
		Name: "ValidatingAdmissionPolicyBinding", Resource: "validatingadmissionpolicybindings", Singular: "validatingadmissionpolicybinding",
		New:      func() runtime.Object { return &admissionv1.ValidatingAdmissionPolicyBinding{} },
		NewList:  func() runtime.Object { return &admissionv1.ValidatingAdmissionPolicyBindingList{} },
		Default:  with(func(b *admissionv1.ValidatingAdmissionPolicyBinding) { defaultMatchResources(b.Spec.MatchResources) }),
		Validate: check(validateValidatingBinding),
		ValidateUpdate: checkOld(func(b, _ *admissionv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
			return validateValidatingBinding(b)
		}),
		Columns: columns,
		Row: row(func(b *admissionv1.ValidatingAdmissionPolicyBinding, now time.Time) []any {
			return []any{b.Name, b.Spec.PolicyName, paramRefText(b.Spec.ParamRef), age(b.CreationTimestamp, now)}
		}),
	})
	registerAdmission(&Kind{
		Name: "MutatingAdmissionPolicyBinding", Resource: "mutatingadmissionpolicybindings", Singular: "mutatingadmissionpolicybinding",
		New:     func() runtime.Object { return &admissionv1.MutatingAdmissionPolicyBinding{} },
		NewList: func() runtime.Object { return &admissionv1.MutatingAdmissionPolicyBindingList{} },
		Default: with(func(b *admissionv1.MutatingAdmissionPolicyBinding) { defaultMatchResources(b.Spec.MatchResources) }),
		Validate: check(func(b *admissionv1.MutatingAdmissionPolicyBinding) field.ErrorList {
			return validateBinding(b.Spec.PolicyName, b.Spec.ParamRef, b.Spec.MatchResources)
		}),
		Columns: columns,
		Row: row(func(b *admissionv1.MutatingAdmissionPolicyBinding, now time.Time) []any {
			return []any{b.Name, b.Spec.PolicyName, paramRefText(b.Spec.ParamRef), age(b.CreationTimestamp, now)}
		}),
	})
}

// registerAdmission registers a kind of what users put before admission, with what all of these kinds have in common.
func registerAdmission(k *Kind) {
	k.GroupVersion, k.Categories = admissionv1.SchemeGroupVersion, []string{"api-extensions"}
	k.ClusterScoped, k.HasGeneration = true, true
	Register(k)
}

func paramRefText(r *admissionv1.ParamRef) string {
	switch {
	case r == nil:
		return "<unset>"
	case r.Name == "":
		return strings.TrimPrefix(r.Namespace+"/*", "/")
	case r.Namespace == "":
		return r.Name
	}
	return r.Namespace + "/" + r.Name
}

func validateValidatingBinding(b *admissionv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
	errs := validateBinding(b.Spec.PolicyName, b.Spec.ParamRef, b.Spec.MatchResources)
	path := field.NewPath("spec", "validationActions")
	if len(b.Spec.ValidationActions) == 0 {
		return append(errs, field.Required(path, ""))
	}
	seen := sets.New[admissionv1.ValidationAction]()
	for i, a := range b.Spec.ValidationActions {
		errs = append(errs, oneOf(a, path.Index(i), admissionv1.Audit, admissionv1.Deny, admissionv1.Warn)...)
		if seen.Has(a) {
			errs = append(errs, field.Duplicate(path.Index(i), a))
		}
		seen.Insert(a)
	}
	if seen.HasAll(admissionv1.Deny, admissionv1.Warn) {
		errs = append(errs, field.Invalid(path, b.Spec.ValidationActions, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"))
	}
	return errs
}
