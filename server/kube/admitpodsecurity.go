package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/warning"
	podsecurity "k8s.io/pod-security-admission/admission"
	podsecurityconfig "k8s.io/pod-security-admission/admission/api"
	podsecurityapi "k8s.io/pod-security-admission/api"
	podsecuritymetrics "k8s.io/pod-security-admission/metrics"
	podpolicy "k8s.io/pod-security-admission/policy"
)

// podSecurityRule holds pods to the level that their namespace's labels name (Pod Security Standards): what violates the enforced one is
// refused, what violates the one for warnings is told, also of what pods are made from.
type podSecurityRule struct {
	state
	rules *podsecurity.Admission
}

// podPolicies are the checks of all levels and versions.
var podPolicies = sync.OnceValue(func() podpolicy.Evaluator {
	e, err := podpolicy.NewEvaluator(podpolicy.DefaultChecks(), nil)
	if err != nil {
		panic("kube: the checks of pod security contradict each other: " + err.Error())
	}
	return e
})

// privileged is the level of a namespace that names none.
var privileged = podsecurityconfig.PodSecurityDefaults{
	Enforce: string(podsecurityapi.LevelPrivileged), EnforceVersion: podsecurityapi.VersionLatest,
	Audit: string(podsecurityapi.LevelPrivileged), AuditVersion: podsecurityapi.VersionLatest,
	Warn: string(podsecurityapi.LevelPrivileged), WarnVersion: podsecurityapi.VersionLatest,
}

func newPodSecurityRule(s state) podSecurityRule {
	rules := &podsecurity.Admission{
		Configuration: &podsecurityconfig.PodSecurityConfiguration{Defaults: privileged},
		Evaluator:     podPolicies(), Metrics: unrecorded{}, NamespaceGetter: s, PodLister: s,
	}
	if err := errors.Join(rules.CompleteConfiguration(), rules.ValidateConfiguration()); err != nil {
		panic("kube: the rules of pod security are incomplete: " + err.Error())
	}
	return podSecurityRule{s, rules}
}

// GetNamespace implements podsecurity.NamespaceGetter.
func (s state) GetNamespace(_ context.Context, name string) (*corev1.Namespace, error) {
	if n, ok := s.Object(namespacesResource, "", name).(*corev1.Namespace); ok {
		return n, nil
	}
	return nil, apierrors.NewNotFound(namespacesResource, name)
}

// ListPods implements podsecurity.PodLister.
func (s state) ListPods(_ context.Context, namespace string) ([]*corev1.Pod, error) {
	return factsOf[*corev1.Pod](s, podsResource, namespace), nil
}

// unrecorded counts nothing.
type unrecorded struct{}

func (unrecorded) RecordEvaluation(podsecuritymetrics.Decision, podsecurityapi.LevelVersion, podsecuritymetrics.Mode, podsecurityapi.Attributes) {
}
func (unrecorded) RecordExemption(podsecurityapi.Attributes)   {}
func (unrecorded) RecordError(bool, podsecurityapi.Attributes) {}

// podSecurityAttributes are a request as the rules read it.
type podSecurityAttributes struct{ admission.Attributes }

func (a podSecurityAttributes) GetObject() (runtime.Object, error) {
	return a.Attributes.GetObject(), nil
}
func (a podSecurityAttributes) GetOldObject() (runtime.Object, error) {
	return a.Attributes.GetOldObject(), nil
}
func (a podSecurityAttributes) GetUserName() string { return a.GetUserInfo().GetName() }
func (a podSecurityAttributes) GetOperation() admissionv1.Operation {
	return admissionv1.Operation(a.Attributes.GetOperation())
}

func (r podSecurityRule) validate(ctx context.Context, at admission.Attributes) error {
	gr := at.GetResource().GroupResource()
	if at.GetOperation() == admission.Delete || gr != namespacesResource && !r.rules.PodSpecExtractor.HasPodSpec(gr) {
		return nil
	}
	answer := r.rules.Validate(ctx, podSecurityAttributes{at})
	if !answer.Allowed && r.Barrier(ctx) == nil { // the labels may have changed elsewhere
		answer = r.rules.Validate(ctx, podSecurityAttributes{at})
	}
	for _, w := range answer.Warnings {
		warning.AddWarning(ctx, "", w)
	}
	for k, v := range answer.AuditAnnotations {
		audit.AddAuditAnnotation(ctx, podsecurityapi.AuditAnnotationPrefix+k, v)
	}
	if answer.Allowed {
		return nil
	}
	return &apierrors.StatusError{ErrStatus: *answer.Result}
}

// checkPodSecurity holds a controller's pod to the enforced level.
func checkPodSecurity(p *corev1.Pod, facts Facts) error {
	n, ok := facts.Object(namespacesResource, "", p.Namespace).(*corev1.Namespace)
	if !ok {
		return nil
	}
	byDefault, err := podsecurityconfig.ToPolicy(privileged)
	if err != nil {
		return err
	}
	// Labels that say nothing sensible count as the strictest; the rules for namespaces let none in.
	wanted, _ := podsecurityapi.PolicyToEvaluate(n.Labels, byDefault)
	if wanted.Enforce.Level == podsecurityapi.LevelPrivileged {
		return nil
	}
	result := podpolicy.AggregateCheckResults(podPolicies().EvaluatePod(wanted.Enforce, &p.ObjectMeta, &p.Spec))
	if result.Allowed {
		return nil
	}
	return fmt.Errorf("violates PodSecurity %q: %s", wanted.Enforce.String(), result.ForbiddenDetail())
}
