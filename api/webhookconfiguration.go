package api

import (
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	registerAdmission(&Kind{
		Name: "MutatingWebhookConfiguration", Resource: "mutatingwebhookconfigurations", Singular: "mutatingwebhookconfiguration",
		New:     func() runtime.Object { return &admissionv1.MutatingWebhookConfiguration{} },
		NewList: func() runtime.Object { return &admissionv1.MutatingWebhookConfigurationList{} },
		Default: with(func(c *admissionv1.MutatingWebhookConfiguration) {
			for i := range c.Webhooks {
				fillPtr(&c.Webhooks[i].ReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
			}
			defaultHooks(mutatingHooks(c))
		}),
		Validate: check(func(c *admissionv1.MutatingWebhookConfiguration) field.ErrorList {
			return append(validateHooks(mutatingHooks(c), nil), validateReinvocation(c)...)
		}),
		ValidateUpdate: checkOld(func(c, old *admissionv1.MutatingWebhookConfiguration) field.ErrorList {
			return append(validateHooks(mutatingHooks(c), mutatingHooks(old)), validateReinvocation(c)...)
		}),
		Columns: configurationColumns,
		Row: row(func(c *admissionv1.MutatingWebhookConfiguration, now time.Time) []any {
			return configurationRow(&c.ObjectMeta, len(c.Webhooks), now)
		}),
	})
	registerAdmission(&Kind{
		Name: "ValidatingWebhookConfiguration", Resource: "validatingwebhookconfigurations", Singular: "validatingwebhookconfiguration",
		New:     func() runtime.Object { return &admissionv1.ValidatingWebhookConfiguration{} },
		NewList: func() runtime.Object { return &admissionv1.ValidatingWebhookConfigurationList{} },
		Default: with(func(c *admissionv1.ValidatingWebhookConfiguration) {
			defaultHooks(validatingHooks(c))
		}),
		Validate: check(func(c *admissionv1.ValidatingWebhookConfiguration) field.ErrorList {
			return validateHooks(validatingHooks(c), nil)
		}),
		ValidateUpdate: checkOld(func(c, old *admissionv1.ValidatingWebhookConfiguration) field.ErrorList {
			return validateHooks(validatingHooks(c), validatingHooks(old))
		}),
		Columns: configurationColumns,
		Row: row(func(c *admissionv1.ValidatingWebhookConfiguration, now time.Time) []any {
			return configurationRow(&c.ObjectMeta, len(c.Webhooks), now)
		}),
	})
}

var configurationColumns = []metav1.TableColumnDefinition{nameColumn, textColumn("Webhooks", "How many webhooks the configuration has."), ageColumn}

func configurationRow(m *metav1.ObjectMeta, webhooks int, now time.Time) []any {
	return []any{m.Name, itoa(webhooks), age(m.CreationTimestamp, now)}
}

// mutatingHooks gives what mutating and validating webhooks have in common, which is what a validating one is. It shares memory with
// the configuration only where a field is a pointer, so defaults are written back by whoever fills them in.
func mutatingHooks(c *admissionv1.MutatingWebhookConfiguration) []hook {
	out := make([]hook, len(c.Webhooks))
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		out[i] = hook{w.Name, &w.ClientConfig, w.Rules, &w.FailurePolicy, &w.MatchPolicy, &w.NamespaceSelector, &w.ObjectSelector, w.SideEffects, &w.TimeoutSeconds, w.AdmissionReviewVersions, w.MatchConditions}
	}
	return out
}

func validatingHooks(c *admissionv1.ValidatingWebhookConfiguration) []hook {
	out := make([]hook, len(c.Webhooks))
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		out[i] = hook{w.Name, &w.ClientConfig, w.Rules, &w.FailurePolicy, &w.MatchPolicy, &w.NamespaceSelector, &w.ObjectSelector, w.SideEffects, &w.TimeoutSeconds, w.AdmissionReviewVersions, w.MatchConditions}
	}
	return out
}

// hook is a webhook of either kind; pointers are to fields that have a default.
type hook struct {
	name       string
	client     *admissionv1.WebhookClientConfig
	rules      []admissionv1.RuleWithOperations
	failure    **admissionv1.FailurePolicyType
	match      **admissionv1.MatchPolicyType
	namespaces **metav1.LabelSelector
	objects    **metav1.LabelSelector
	effects    *admissionv1.SideEffectClass
	timeout    **int32
	reviews    []string
	conditions []admissionv1.MatchCondition
}

const (
	hookTimeoutUnset = 10 // seconds
	hookPortUnset    = 443
)

func defaultHooks(list []hook) {
	for _, h := range list {
		fillPtr(h.failure, admissionv1.Fail)
		fillPtr(h.match, admissionv1.Equivalent)
		fillPtr(h.namespaces, metav1.LabelSelector{})
		fillPtr(h.objects, metav1.LabelSelector{})
		fillPtr(h.timeout, hookTimeoutUnset)
		if s := h.client.Service; s != nil {
			fillPtr(&s.Port, hookPortUnset)
		}
		for i := range h.rules {
			fillPtr(&h.rules[i].Scope, admissionv1.AllScopes)
		}
	}
}
