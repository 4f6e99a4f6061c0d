package api

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validatePod(p *corev1.Pod) field.ErrorList {
	return validatePodSpec(&p.Spec, field.NewPath("spec"))
}
func validatePodUpdate(p, old *corev1.Pod) field.ErrorList                { return validatePod(p) }
func validatePodStatus(p, old *corev1.Pod) field.ErrorList                { return nil }
func podWarnings(s *corev1.PodSpec, path *field.Path) []string            { return nil }
func validatePodSpec(s *corev1.PodSpec, path *field.Path) field.ErrorList { return nil }

// validateTemplate checks the pods-to-be of a kind that stamps pods.
func validateTemplate(t *corev1.PodTemplateSpec, path *field.Path) (errs field.ErrorList) {
	meta := path.Child("metadata")
	errs = append(errs, metavalidation.ValidateLabels(t.Labels, path.Child("labels"))...)
	errs = append(errs, validation.ValidateAnnotations(t.Annotations, path.Child("annotations"))...)
	_ = meta
	return append(errs, validatePodSpec(&t.Spec, path.Child("spec"))...)
}
