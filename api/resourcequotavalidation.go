package api

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateResourceQuota(q *corev1.ResourceQuota) field.ErrorList {
	return append(validateQuotaSpec(&q.Spec, field.NewPath("spec")), validateQuotaStatus(&q.Status, field.NewPath("status"))...)
}

func validateQuotaSpec(s *corev1.ResourceQuotaSpec, spec *field.Path) field.ErrorList {
	errs := validateQuotaList(s.Hard, spec.Child("hard"))
	errs = append(errs, validateScopes(s, spec.Child("scopes"))...)
	if s.ScopeSelector != nil {
		errs = append(errs, validateScopeSelector(s, spec.Child("scopeSelector", "matchExpressions"))...)
	}
	return errs
}

func validateQuotaStatus(s *corev1.ResourceQuotaStatus, status *field.Path) field.ErrorList {
	return append(validateQuotaList(s.Hard, status.Child("hard")), validateQuotaList(s.Used, status.Child("used"))...)
}

func validateQuotaList(list corev1.ResourceList, path *field.Path) (errs field.ErrorList) {
	for _, name := range sortedKeys(list) {
		at := path.Key(string(name))
		errs = append(errs, validateQuotaResource(name, at)...)
		errs = append(errs, validateQuantity(name, list[name], at)...)
	}
	return errs
}

// validateQuotaResource: what is counted is a resource or a kind that quota knows, or has a domain of its own ("count/jobs.batch" too).
func validateQuotaResource(name corev1.ResourceName, path *field.Path) field.ErrorList {
	errs := validateStandardResource(name, path)
	if !qualified(name) && !quotaResource(name) {
		errs = append(errs, field.Invalid(path, name, "must be a standard resource for quota"))
	}
	return errs
}

// scopesExclusive are the pairs of which no object is in both.
var scopesExclusive = [][2]corev1.ResourceQuotaScope{
	{corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort},
	{corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating},
}

func conflicting(scopes sets.Set[corev1.ResourceQuotaScope]) bool {
	return slices.ContainsFunc(scopesExclusive, func(pair [2]corev1.ResourceQuotaScope) bool { return scopes.HasAll(pair[0], pair[1]) })
}

func validateScopes(s *corev1.ResourceQuotaSpec, path *field.Path) (errs field.ErrorList) {
	for _, scope := range s.Scopes {
		if !knownScope(scope) {
			errs = append(errs, field.Invalid(path, s.Scopes, "unsupported scope"))
		}
		for range unscoped(s.Hard, scope) {
			errs = append(errs, field.Invalid(path, s.Scopes, "unsupported scope applied to resource"))
		}
	}
	if conflicting(sets.New(s.Scopes...)) {
		errs = append(errs, field.Invalid(path, s.Scopes, "conflicting scopes"))
	}
	return errs
}

// validateScopeSelector reports faults without the index of the expression, as Kubernetes does.
func validateScopeSelector(s *corev1.ResourceQuotaSpec, path *field.Path) (errs field.ErrorList) {
	scopes := sets.New[corev1.ResourceQuotaScope]()
	for i := range s.ScopeSelector.MatchExpressions {
		r := &s.ScopeSelector.MatchExpressions[i]
		scopes.Insert(r.ScopeName)
		if !knownScope(r.ScopeName) {
			errs = append(errs, field.Invalid(path.Child("scopeName"), r.ScopeName, "unsupported scope"))
		}
		for range unscoped(s.Hard, r.ScopeName) {
			errs = append(errs, field.Invalid(path, s.ScopeSelector, "unsupported scope applied to resource"))
		}
		errs = append(errs, validateScopeRequirement(r, path)...)
	}
	if conflicting(scopes) {
		errs = append(errs, field.Invalid(path, s.Scopes, "conflicting scopes"))
	}
	return errs
}

func validateScopeRequirement(r *corev1.ScopedResourceSelectorRequirement, path *field.Path) (errs field.ErrorList) {
	operator, values := path.Child("operator"), path.Child("values")
	if yesOrNo(r.ScopeName) && r.Operator != corev1.ScopeSelectorOpExists {
		errs = append(errs, field.Invalid(operator, r.Operator, fmt.Sprintf("must be 'Exist' when scope is any of %s, %s, %s, %s or %s",
			"ResourceQuotaScopeTerminating", "ResourceQuotaScopeNotTerminating", "ResourceQuotaScopeBestEffort",
			"ResourceQuotaScopeNotBestEffort", "ResourceQuotaScopeCrossNamespacePodAffinity")))
	}
	switch r.Operator {
	case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
		if len(r.Values) == 0 {
			errs = append(errs, field.Required(values, "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"))
		}
	case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			errs = append(errs, field.Invalid(values, r.Values, "must be no value when `operator` is 'Exists' or 'DoesNotExist' for scope selector"))
		}
	default:
		errs = append(errs, field.Invalid(operator, r.Operator, "not a valid selector operator"))
	}
	return errs
}

// yesOrNo scopes have no values: an object is in them or not.
func yesOrNo(s corev1.ResourceQuotaScope) bool {
	switch s {
	case corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort,
		corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return true
	}
	return false
}

func knownScope(s corev1.ResourceQuotaScope) bool {
	return yesOrNo(s) || s == corev1.ResourceQuotaScopePriorityClass || s == corev1.ResourceQuotaScopeVolumeAttributesClass
}

// unscoped lists the resources of which a scope can say nothing.
func unscoped(hard corev1.ResourceList, scope corev1.ResourceQuotaScope) (names []corev1.ResourceName) {
	for _, name := range sortedKeys(hard) {
		if quotaResource(name) && !scopeCovers(scope, name) {
			names = append(names, name)
		}
	}
	return names
}

// scopeCovers: most scopes are of pods and what they compute with; pods of best effort ask for nothing, so they are only counted.
func scopeCovers(scope corev1.ResourceQuotaScope, name corev1.ResourceName) bool {
	switch scope {
	case corev1.ResourceQuotaScopeBestEffort:
		return name == corev1.ResourcePods
	case corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeNotBestEffort,
		corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return name == corev1.ResourcePods || podCompute.Has(name)
	case corev1.ResourceQuotaScopeVolumeAttributesClass:
		return name == corev1.ResourcePersistentVolumeClaims || name == corev1.ResourceRequestsStorage
	}
	return true
}

func validateResourceQuotaUpdate(q, old *corev1.ResourceQuota) field.ErrorList {
	errs := validateQuotaSpec(&q.Spec, field.NewPath("spec"))
	if !sets.New(q.Spec.Scopes...).Equal(sets.New(old.Spec.Scopes...)) {
		errs = append(errs, field.Invalid(field.NewPath("spec", "scopes"), q.Spec.Scopes, validation.FieldImmutableErrorMsg))
	}
	return errs
}

func validateResourceQuotaStatusUpdate(q, _ *corev1.ResourceQuota) field.ErrorList {
	return validateQuotaStatus(&q.Status, field.NewPath("status"))
}
