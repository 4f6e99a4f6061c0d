package api

import (
	"reflect"
	"strings"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: resourcev1.SchemeGroupVersion,
		Name:         "ResourceClaimTemplate", Resource: "resourceclaimtemplates", Singular: "resourceclaimtemplate",
		NotActedOn: noDevices,
		New:        func() runtime.Object { return &resourcev1.ResourceClaimTemplate{} },
		NewList:    func() runtime.Object { return &resourcev1.ResourceClaimTemplateList{} },
		Default: with(func(t *resourcev1.ResourceClaimTemplate) {
			defaultDeviceClaim(&t.Spec.Spec.Devices)
		}),
		PrepareForCreate: with(func(t *resourcev1.ResourceClaimTemplate) { dropAlphaRequests(&t.Spec.Spec.Devices) }),
		PrepareForUpdate: withOld(func(t, _ *resourcev1.ResourceClaimTemplate) { dropAlphaRequests(&t.Spec.Spec.Devices) }),
		Validate: check(func(t *resourcev1.ResourceClaimTemplate) field.ErrorList {
			return validateResourceClaimTemplate(&t.Spec, nil)
		}),
		ValidateUpdate: checkOld(func(t, old *resourcev1.ResourceClaimTemplate) field.ErrorList {
			errs := validation.ValidateImmutableField(t.Spec, old.Spec, field.NewPath("spec"))
			return append(errs, validateResourceClaimTemplate(&t.Spec, &old.Spec)...)
		}),
		Columns: []metav1.TableColumnDefinition{nameColumn, ageColumn},
		Row: row(func(t *resourcev1.ResourceClaimTemplate, now time.Time) []any {
			return []any{t.Name, age(t.CreationTimestamp, now)}
		}),
	})
}

// validateResourceClaimTemplate checks the claim-to-be; old is nil on create.
func validateResourceClaimTemplate(s, old *resourcev1.ResourceClaimTemplateSpec) field.ErrorList {
	spec := field.NewPath("spec")
	errs := validateTemplateMeta(&s.ObjectMeta, spec.Child("metadata"))
	var before *resourcev1.ResourceClaimSpec
	if old != nil {
		before = &old.Spec
	}
	return append(errs, validateResourceClaimSpec(&s.Spec, before, spec.Child("spec"), old != nil)...)
}

// validateTemplateMeta checks the metadata that copies of a template get: labels and annotations, and nothing else.
func validateTemplateMeta(m *metav1.ObjectMeta, path *field.Path) field.ErrorList {
	errs := validation.ValidateAnnotations(m.Annotations, path.Child("annotations"))
	errs = append(errs, metavalidation.ValidateLabels(m.Labels, path.Child("labels"))...)
	rest := *m
	rest.Labels, rest.Annotations = nil, nil
	v := reflect.ValueOf(rest)
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			errs = append(errs, field.Forbidden(path.Child(name), "cannot be set"))
		}
	}
	return errs
}
