package api

import (
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/util/webhook"
)

const (
	hookTimeoutMax     = 30 // seconds
	matchConditionsMax = 64
)

// knownReviews are the versions of AdmissionReview that are spoken here.
var knownReviews = []string{"v1", "v1beta1"}

// validateHooks: old are the webhooks before a change, nil of a new configuration.
func validateHooks(list, old []hook) (errs field.ErrorList) {
	names := sets.New[string]()
	for i, h := range list {
		path := field.NewPath("webhooks").Index(i)
		errs = append(errs, utilvalidation.IsFullyQualifiedName(path.Child("name"), h.name)...)
		if names.Has(h.name) {
			errs = append(errs, field.Duplicate(path.Child("name"), h.name))
		}
		names.Insert(h.name)
		errs = append(errs, validateWebhook(h, path, storedConditions(h, old))...)
	}
	return errs
}

// storedConditions says whether a webhook had the same conditions before: what was accepted once stays so.
func storedConditions(h hook, old []hook) bool {
	return slices.ContainsFunc(old, func(o hook) bool { return equality.Semantic.DeepEqual(o.conditions, h.conditions) })
}

func validateWebhook(h hook, path *field.Path, stored bool) (errs field.ErrorList) {
	errs = append(errs, validateReviewVersions(h.reviews, path.Child("admissionReviewVersions"))...)
	for i := range h.rules {
		errs = append(errs, validateRule(&h.rules[i], path.Child("rules").Index(i))...)
	}
	errs = append(errs, validateFailureAndMatch(*h.failure, *h.match, path)...)
	if h.effects == nil {
		errs = append(errs, field.Required(path.Child("sideEffects"), "must specify one of None, NoneOnDryRun"))
	} else {
		errs = append(errs, oneOf(*h.effects, path.Child("sideEffects"), admissionv1.SideEffectClassNone, admissionv1.SideEffectClassNoneOnDryRun)...)
	}
	if t := *h.timeout; t != nil && (*t < 1 || *t > hookTimeoutMax) {
		errs = append(errs, field.Invalid(path.Child("timeoutSeconds"), *t, "the timeout value must be between 1 and 30 seconds"))
	}
	errs = append(errs, validateSelectors(*h.namespaces, *h.objects, path)...)
	errs = append(errs, validateHookClient(h.client, path.Child("clientConfig"))...)
	return append(errs, validateMatchConditions(h.conditions, hookExpressions(stored), path.Child("matchConditions"))...)
}

func validateHookClient(c *admissionv1.WebhookClientConfig, path *field.Path) (errs field.ErrorList) {
	switch {
	case (c.URL == nil) == (c.Service == nil):
		errs = append(errs, field.Required(path, "exactly one of url or service is required"))
	case c.URL != nil:
		errs = append(errs, webhook.ValidateWebhookURL(path.Child("url"), *c.URL, true)...)
	default:
		errs = append(errs, webhook.ValidateWebhookService(path.Child("service"), c.Service.Namespace, c.Service.Name, c.Service.Path, valueOf(c.Service.Port))...)
	}
	return errs
}

func validateFailureAndMatch(failure *admissionv1.FailurePolicyType, match *admissionv1.MatchPolicyType, path *field.Path) (errs field.ErrorList) {
	if failure != nil {
		errs = append(errs, oneOf(*failure, path.Child("failurePolicy"), admissionv1.Fail, admissionv1.Ignore)...)
	}
	if match != nil {
		errs = append(errs, oneOf(*match, path.Child("matchPolicy"), admissionv1.Equivalent, admissionv1.Exact)...)
	}
	return errs
}

func validateSelectors(namespaces, objects *metav1.LabelSelector, path *field.Path) field.ErrorList {
	errs := metavalidation.ValidateLabelSelector(namespaces, metavalidation.LabelSelectorValidationOptions{}, path.Child("namespaceSelector"))
	return append(errs, metavalidation.ValidateLabelSelector(objects, metavalidation.LabelSelectorValidationOptions{}, path.Child("objectSelector"))...)
}

func validateReviewVersions(list []string, path *field.Path) (errs field.ErrorList) {
	if len(list) == 0 {
		return field.ErrorList{field.Required(path, fmt.Sprintf("must specify one of %s", strings.Join(knownReviews, ", ")))}
	}
	known, seen := false, sets.New[string]()
	for i, v := range list {
		if seen.Has(v) {
			errs = append(errs, field.Invalid(path.Index(i), v, "duplicate version"))
			continue
		}
		seen.Insert(v)
		errs = append(errs, faults(path.Index(i), v, utilvalidation.IsDNS1035Label(v))...)
		known = known || slices.Contains(knownReviews, v)
	}
	if !known {
		errs = append(errs, field.Invalid(path, list, fmt.Sprintf("must include at least one of %s", strings.Join(knownReviews, ", "))))
	}
	return errs
}

func validateReinvocation(c *admissionv1.MutatingWebhookConfiguration) (errs field.ErrorList) {
	for i := range c.Webhooks {
		if p := c.Webhooks[i].ReinvocationPolicy; p != nil {
			errs = append(errs, oneOf(*p, field.NewPath("webhooks").Index(i).Child("reinvocationPolicy"), admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy)...)
		}
	}
	return errs
}

// ruleOperations are those that a rule can name.
var ruleOperations = []admissionv1.OperationType{admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Delete, admissionv1.Update}

func validateRule(r *admissionv1.RuleWithOperations, path *field.Path) (errs field.ErrorList) {
	if len(r.Operations) == 0 {
		errs = append(errs, field.Required(path.Child("operations"), ""))
	}
	for i, o := range r.Operations {
		errs = append(errs, oneOf(o, path.Child("operations").Index(i), ruleOperations...)...)
	}
	if len(r.Operations) > 1 && slices.Contains(r.Operations, admissionv1.OperationAll) {
		errs = append(errs, field.Invalid(path.Child("operations"), r.Operations, "if '*' is present, must not specify other operations"))
	}
	errs = append(errs, validateStarred(r.APIGroups, "API groups", true, path.Child("apiGroups"))...)
	errs = append(errs, validateStarred(r.APIVersions, "API versions", false, path.Child("apiVersions"))...)
	errs = append(errs, validateRuleResources(r.Resources, path.Child("resources"))...)
	if r.Scope != nil {
		errs = append(errs, oneOf(*r.Scope, path.Child("scope"), admissionv1.AllScopes, admissionv1.ClusterScope, admissionv1.NamespacedScope)...)
	}
	return errs
}

// validateStarred: a list that has "*" has nothing else.
func validateStarred(list []string, what string, empty bool, path *field.Path) (errs field.ErrorList) {
	if len(list) == 0 {
		errs = append(errs, field.Required(path, ""))
	}
	if len(list) > 1 && slices.Contains(list, "*") {
		errs = append(errs, field.Invalid(path, list, fmt.Sprintf("if '*' is present, must not specify other %s", what)))
	}
	for i, s := range list {
		if s == "" && !empty {
			errs = append(errs, field.Required(path.Index(i), ""))
		}
	}
	return errs
}

// validateRuleResources refuses what another entry of the list says already.
func validateRuleResources(list []string, path *field.Path) (errs field.ErrorList) {
	if len(list) == 0 {
		errs = append(errs, field.Required(path, ""))
	}
	whole, parts := sets.New[string](), sets.New[string]()
	for i, s := range list {
		resource, sub, divided := strings.Cut(s, "/")
		switch {
		case s == "":
			errs = append(errs, field.Required(path.Index(i), ""))
		case s == "*/*" && len(list) > 1:
			errs = append(errs, field.Invalid(path, list, "if '*/*' is present, must not specify other resources"))
		case divided && sub != "*" && whole.Has(resource):
			errs = append(errs, field.Invalid(path.Index(i), s, fmt.Sprintf("if '%s/*' is present, must not specify %s", resource, s)))
		case divided && resource != "*" && parts.Has(sub):
			errs = append(errs, field.Invalid(path.Index(i), s, fmt.Sprintf("if '*/%s' is present, must not specify %s", sub, s)))
		}
		if divided && sub == "*" {
			whole.Insert(resource)
		}
		if divided && resource == "*" {
			parts.Insert(sub)
		}
	}
	if len(list) > 1 && slices.Contains(list, "*") && !slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, "/") }) {
		errs = append(errs, field.Invalid(path, list, "if '*' is present, must not specify other resources without subresources"))
	}
	return errs
}
