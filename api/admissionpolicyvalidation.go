package api

import (
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	pathvalidation "k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
)

const (
	auditAnnotationsMax = 20
	auditExpressionMax  = 5 << 10 // bytes
)

// validationReasons are what a validation may refuse with.
var validationReasons = []metav1.StatusReason{metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge, metav1.StatusReasonUnauthorized}

func validateValidatingPolicy(p *admissionv1.ValidatingAdmissionPolicy, stored bool) field.ErrorList {
	s, spec := &p.Spec, field.NewPath("spec")
	x := policyExpressions(s.ParamKind, stored)
	errs := validatePolicy(s.FailurePolicy, s.ParamKind, s.MatchConstraints, spec)
	errs = append(errs, x.declare(s.Variables, spec.Child("variables"))...)
	errs = append(errs, validateMatchConditions(s.MatchConditions, x, spec.Child("matchConditions"))...)
	if len(s.Validations) == 0 && len(s.AuditAnnotations) == 0 {
		errs = append(errs, field.Required(spec.Child("validations"), "validations or auditAnnotations must be specified"),
			field.Required(spec.Child("auditAnnotations"), "validations or auditAnnotations must be specified"))
	}
	for i := range s.Validations {
		errs = append(errs, validateValidation(&s.Validations[i], x, spec.Child("validations").Index(i))...)
	}
	return append(errs, validateAuditAnnotations(p, x, spec.Child("auditAnnotations"))...)
}

// validatePolicy checks what both kinds of policies have.
func validatePolicy(failure *admissionv1.FailurePolicyType, params *admissionv1.ParamKind, match *admissionv1.MatchResources, spec *field.Path) field.ErrorList {
	errs := validateFailureAndMatch(failure, nil, spec)
	if failure == nil {
		errs = append(errs, field.Required(spec.Child("failurePolicy"), ""))
	}
	if params != nil {
		errs = append(errs, validateParamKind(params, spec.Child("paramKind"))...)
	}
	constraints := spec.Child("matchConstraints")
	if match == nil {
		return append(errs, field.Required(constraints, ""))
	}
	if len(match.ResourceRules) == 0 {
		errs = append(errs, field.Required(constraints.Child("resourceRules"), ""))
	}
	return append(errs, validateMatchResources(match, constraints)...)
}

func validateParamKind(k *admissionv1.ParamKind, path *field.Path) (errs field.ErrorList) {
	if k.APIVersion == "" {
		errs = append(errs, field.Required(path.Child("apiVersion"), ""))
	} else if _, err := schema.ParseGroupVersion(k.APIVersion); err != nil {
		errs = append(errs, field.Invalid(path.Child("apiVersion"), k.APIVersion, err.Error()))
	}
	if k.Kind == "" {
		return append(errs, field.Required(path.Child("kind"), ""))
	}
	return append(errs, faults(path.Child("kind"), k.Kind, utilvalidation.IsDNS1035Label(strings.ToLower(k.Kind)))...)
}

func validateMatchResources(m *admissionv1.MatchResources, path *field.Path) field.ErrorList {
	errs := validateSelectors(m.NamespaceSelector, m.ObjectSelector, path)
	errs = append(errs, validateFailureAndMatch(nil, m.MatchPolicy, path)...)
	errs = append(errs, validateNamedRules(m.ResourceRules, path.Child("resourceRules"))...)
	return append(errs, validateNamedRules(m.ExcludeResourceRules, path.Child("excludeResourceRules"))...)
}

func validateNamedRules(list []admissionv1.NamedRuleWithOperations, path *field.Path) (errs field.ErrorList) {
	for i := range list {
		errs = append(errs, validateRule(&list[i].RuleWithOperations, path.Index(i))...)
		names, seen := path.Index(i).Child("resourceNames"), sets.New[string]()
		for j, n := range list[i].ResourceNames {
			errs = append(errs, faults(names.Index(j), n, pathvalidation.ValidatePathSegmentName(n, false))...)
			if seen.Has(n) {
				errs = append(errs, field.Duplicate(names.Index(j), n))
			}
			seen.Insert(n)
		}
	}
	return errs
}

func validateValidation(v *admissionv1.Validation, x *expressions, path *field.Path) field.ErrorList {
	errs := x.check(&validating.ValidationCondition{Expression: v.Expression}, path.Child("expression"))
	if v.MessageExpression != "" {
		errs = append(errs, messageExpressions(x).check(&validating.MessageExpressionCondition{MessageExpression: v.MessageExpression}, path.Child("messageExpression"))...)
	}
	switch {
	case v.Message != "" && strings.TrimSpace(v.Message) == "":
		errs = append(errs, field.Invalid(path.Child("message"), v.Message, "message must be non-empty if specified"))
	case strings.Contains(v.Message, "\n"):
		errs = append(errs, field.Invalid(path.Child("message"), v.Message, "message must not contain line breaks"))
	case v.Message == "" && strings.Contains(v.Expression, "\n"):
		errs = append(errs, field.Required(path.Child("message"), "message must be specified if expression contains line breaks"))
	}
	if v.Reason != nil {
		errs = append(errs, oneOf(*v.Reason, path.Child("reason"), validationReasons...)...)
	}
	return errs
}

// messageExpressions may not ask what somebody may do.
func messageExpressions(x *expressions) *expressions {
	m := *x
	m.variables.HasAuthorizer = false
	return &m
}

func validateAuditAnnotations(p *admissionv1.ValidatingAdmissionPolicy, x *expressions, path *field.Path) (errs field.ErrorList) {
	list, keys := p.Spec.AuditAnnotations, sets.New[string]()
	if len(list) > auditAnnotationsMax {
		errs = append(errs, field.TooMany(path, len(list), auditAnnotationsMax))
	}
	for i, a := range list {
		at := path.Index(i)
		if a.Key == "" {
			errs = append(errs, field.Required(at.Child("key"), ""))
		} else {
			errs = append(errs, faults(at.Child("key"), a.Key, utilvalidation.IsQualifiedName(p.Name+"/"+a.Key))...)
		}
		if keys.Has(a.Key) {
			errs = append(errs, field.Duplicate(at.Child("key"), a.Key))
		}
		keys.Insert(a.Key)
		if len(a.ValueExpression) > auditExpressionMax {
			errs = append(errs, field.TooLong(at.Child("valueExpression"), "", auditExpressionMax))
			continue
		}
		errs = append(errs, x.check(&validating.AuditAnnotationCondition{Key: a.Key, ValueExpression: a.ValueExpression}, at.Child("valueExpression"))...)
	}
	return errs
}

func validateMutatingPolicy(p *admissionv1.MutatingAdmissionPolicy, stored bool) field.ErrorList {
	s, spec := &p.Spec, field.NewPath("spec")
	x := policyExpressions(s.ParamKind, stored)
	errs := validatePolicy(s.FailurePolicy, s.ParamKind, s.MatchConstraints, spec)
	errs = append(errs, x.declare(s.Variables, spec.Child("variables"))...)
	errs = append(errs, validateMatchConditions(s.MatchConditions, x, spec.Child("matchConditions"))...)
	errs = append(errs, requiredOneOf(s.ReinvocationPolicy, spec.Child("reinvocationPolicy"), admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy)...)
	if len(s.Mutations) == 0 {
		errs = append(errs, field.Required(spec.Child("mutations"), "mutations must contain at least one item"))
	}
	for i := range s.Mutations {
		errs = append(errs, validateMutation(&s.Mutations[i], x, spec.Child("mutations").Index(i))...)
	}
	return errs
}

func validateMutation(m *admissionv1.Mutation, x *expressions, path *field.Path) field.ErrorList {
	errs := requiredOneOf(m.PatchType, path.Child("patchType"), admissionv1.PatchTypeApplyConfiguration, admissionv1.PatchTypeJSONPatch)
	with := x.variables
	with.HasPatchTypes = true
	apply, json := path.Child("applyConfiguration"), path.Child("jsonPatch")
	switch m.PatchType {
	case admissionv1.PatchTypeApplyConfiguration:
		if m.JSONPatch != nil {
			errs = append(errs, field.Invalid(json, "{...}", "must not be specified when patchType is ApplyConfiguration"))
		}
		if m.ApplyConfiguration == nil {
			return append(errs, field.Required(apply, "must be specified when patchType is ApplyConfiguration"))
		}
		return append(errs, x.checkWith(&patch.ApplyConfigurationCondition{Expression: m.ApplyConfiguration.Expression}, with, apply.Child("expression"))...)
	case admissionv1.PatchTypeJSONPatch:
		if m.ApplyConfiguration != nil {
			errs = append(errs, field.Invalid(apply, "{...}", "must not be specified when patchType is JSONPatch"))
		}
		if m.JSONPatch == nil {
			return append(errs, field.Required(json, "must be specified when patchType is JSONPatch"))
		}
		return append(errs, x.checkWith(&patch.JSONPatchCondition{Expression: m.JSONPatch.Expression}, with, json.Child("expression"))...)
	}
	return errs
}

// validateBinding checks what the bindings of both kinds of policies have.
func validateBinding(policy string, params *admissionv1.ParamRef, match *admissionv1.MatchResources) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	if policy == "" {
		errs = append(errs, field.Required(spec.Child("policyName"), ""))
	} else {
		errs = append(errs, faults(spec.Child("policyName"), policy, validation.NameIsDNSSubdomain(policy, false))...)
	}
	if params != nil {
		errs = append(errs, validateParamRef(params, spec.Child("paramRef"))...)
	}
	if match != nil {
		errs = append(errs, validateMatchResources(match, spec.Child("matchResources"))...)
	}
	return errs
}

func validateParamRef(r *admissionv1.ParamRef, path *field.Path) (errs field.ErrorList) {
	if r.Name != "" {
		errs = append(errs, faults(path.Child("name"), r.Name, pathvalidation.ValidatePathSegmentName(r.Name, false))...)
	}
	switch {
	case r.Name != "" && r.Selector != nil:
		errs = append(errs, field.Forbidden(path.Child("name"), "name and selector are mutually exclusive"))
	case r.Name == "" && r.Selector == nil:
		errs = append(errs, field.Required(path, "one of name or selector must be specified"))
	case r.Selector != nil:
		errs = append(errs, validateSelector(r.Selector, path.Child("selector"))...)
	}
	if r.ParameterNotFoundAction == nil {
		return append(errs, field.Required(path.Child("parameterNotFoundAction"), ""))
	}
	return append(errs, oneOf(*r.ParameterNotFoundAction, path.Child("parameterNotFoundAction"), admissionv1.AllowAction, admissionv1.DenyAction)...)
}
