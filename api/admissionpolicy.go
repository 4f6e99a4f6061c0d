package api

import (
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	registerAdmission(&Kind{
		Name: "ValidatingAdmissionPolicy", Resource: "validatingadmissionpolicies", Singular: "validatingadmissionpolicy",
		New:     func() runtime.Object { return &admissionv1.ValidatingAdmissionPolicy{} },
		NewList: func() runtime.Object { return &admissionv1.ValidatingAdmissionPolicyList{} },
		Default: with(func(p *admissionv1.ValidatingAdmissionPolicy) {
			fillPtr(&p.Spec.FailurePolicy, admissionv1.Fail)
			defaultMatchResources(p.Spec.MatchConstraints)
		}),
		Validate: check(func(p *admissionv1.ValidatingAdmissionPolicy) field.ErrorList {
			return validateValidatingPolicy(p, false)
		}),
		ValidateUpdate: checkOld(func(p, old *admissionv1.ValidatingAdmissionPolicy) field.ErrorList {
			return validateValidatingPolicy(p, equality.Semantic.DeepEqual(p.Spec, old.Spec))
		}),
		Columns: policyColumns("Validations"),
		Row: row(func(p *admissionv1.ValidatingAdmissionPolicy, now time.Time) []any {
			return policyRow(&p.ObjectMeta, len(p.Spec.Validations), p.Spec.ParamKind, now)
		}),
		HasStatus: true,
	})
	registerAdmission(&Kind{
		Name: "MutatingAdmissionPolicy", Resource: "mutatingadmissionpolicies", Singular: "mutatingadmissionpolicy",
		New:     func() runtime.Object { return &admissionv1.MutatingAdmissionPolicy{} },
		NewList: func() runtime.Object { return &admissionv1.MutatingAdmissionPolicyList{} },
		Default: with(func(p *admissionv1.MutatingAdmissionPolicy) {
			fillPtr(&p.Spec.FailurePolicy, admissionv1.Fail)
			defaultMatchResources(p.Spec.MatchConstraints)
		}),
		Validate: check(func(p *admissionv1.MutatingAdmissionPolicy) field.ErrorList { return validateMutatingPolicy(p, false) }),
		ValidateUpdate: checkOld(func(p, old *admissionv1.MutatingAdmissionPolicy) field.ErrorList {
			return validateMutatingPolicy(p, equality.Semantic.DeepEqual(p.Spec, old.Spec))
		}),
		Columns: policyColumns("Mutations"),
		Row: row(func(p *admissionv1.MutatingAdmissionPolicy, now time.Time) []any {
			return policyRow(&p.ObjectMeta, len(p.Spec.Mutations), p.Spec.ParamKind, now)
		}),
	})
}

// policyColumns are those of a policy; does is what it has several of.
func policyColumns(does string) []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		nameColumn,
		textColumn(does, "How many "+strings.ToLower(does)+" the policy has."),
		textColumn("ParamKind", "The kind of what the policy takes its parameters from."),
		ageColumn,
	}
}

func policyRow(m *metav1.ObjectMeta, does int, params *admissionv1.ParamKind, now time.Time) []any {
	return []any{m.Name, itoa(does), paramKindText(params), age(m.CreationTimestamp, now)}
}

func paramKindText(k *admissionv1.ParamKind) string {
	if k == nil {
		return "<unset>"
	}
	return k.APIVersion + "/" + k.Kind
}

func defaultMatchResources(m *admissionv1.MatchResources) {
	if m == nil {
		return
	}
	fillPtr(&m.MatchPolicy, admissionv1.Equivalent)
	fillPtr(&m.NamespaceSelector, metav1.LabelSelector{})
	fillPtr(&m.ObjectSelector, metav1.LabelSelector{})
	for _, list := range [][]admissionv1.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range list {
			fillPtr(&list[i].Scope, admissionv1.AllScopes)
		}
	}
}
