package api

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ValidateBinding checks what a scheduler sends to a pod's binding subresource: pods run on nodes only.
func ValidateBinding(b *corev1.Binding) (errs field.ErrorList) {
	target := field.NewPath("target")
	if b.Target.Kind != "" && b.Target.Kind != "Node" {
		errs = append(errs, field.NotSupported(target.Child("kind"), b.Target.Kind, []string{"Node", "<empty>"}))
	}
	return append(errs, required(b.Target.Name, target.Child("name"))...)
}

// ValidateEviction checks what is sent to a pod's eviction subresource: its options are those of a deletion.
func ValidateEviction(e *policyv1.Eviction) field.ErrorList {
	if e.DeleteOptions == nil {
		return nil
	}
	return metavalidation.ValidateDeleteOptions(e.DeleteOptions)
}

// EvictionDeleteOptions are the options of the deletion that an eviction asks for. Whether it is a trial can be said in the request's
// parameters and in its body, and they must not contradict each other.
func EvictionDeleteOptions(e *policyv1.Eviction, request *metav1.CreateOptions) (*metav1.DeleteOptions, error) {
	o := e.DeleteOptions.DeepCopy()
	if o == nil {
		o = &metav1.DeleteOptions{}
	}
	switch {
	case len(o.DryRun) == 0:
		o.DryRun = request.DryRun
	case len(request.DryRun) > 0 && !slices.Equal(o.DryRun, request.DryRun):
		return nil, fmt.Errorf("Non-matching dry-run options in request and content: %v and %v", request.DryRun, o.DryRun)
	}
	return o, nil
}
