package api

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: nodev1.SchemeGroupVersion,
		Name:         "RuntimeClass", Resource: "runtimeclasses", Singular: "runtimeclass",
		ClusterScoped:     true,
		ConditionalUpdate: true,
		New:               func() runtime.Object { return &nodev1.RuntimeClass{} },
		NewList:           func() runtime.Object { return &nodev1.RuntimeClassList{} },
		Default: with(func(c *nodev1.RuntimeClass) {
			if c.Overhead != nil {
				roundUp(c.Overhead.PodFixed)
			}
		}),
		Validate: check(validateRuntimeClass),
		ValidateUpdate: checkOld(func(c, old *nodev1.RuntimeClass) field.ErrorList {
			return append(validateRuntimeClass(c), validation.ValidateImmutableField(c.Handler, old.Handler, field.NewPath("handler"))...)
		}),
		Columns: []metav1.TableColumnDefinition{
			nameColumn, textColumn("Handler", "What the container runtime of a node calls the class."), ageColumn,
		},
		Row: row(func(c *nodev1.RuntimeClass, now time.Time) []any {
			return []any{c.Name, c.Handler, age(c.CreationTimestamp, now)}
		}),
	})
}

func validateRuntimeClass(c *nodev1.RuntimeClass) (errs field.ErrorList) {
	if c.Handler == "" {
		errs = append(errs, field.Required(field.NewPath("handler"), ""))
	} else {
		errs = append(errs, faults(field.NewPath("handler"), c.Handler, validation.NameIsDNSLabel(c.Handler, false))...)
	}
	if c.Overhead != nil {
		// The overhead is checked like the limits of a container, and its faults are named so.
		errs = append(errs, validateResources(&corev1.ResourceRequirements{Limits: c.Overhead.PodFixed}, field.NewPath("overhead", "podFixed"))...)
	}
	if s := c.Scheduling; s != nil {
		scheduling := field.NewPath("scheduling")
		errs = append(errs, metavalidation.ValidateLabels(s.NodeSelector, scheduling.Child("nodeSelector"))...)
		errs = append(errs, validateTolerations(s.Tolerations, scheduling.Child("tolerations"))...)
		for i, t := range s.Tolerations {
			if slices.Contains(s.Tolerations[:i], t) {
				errs = append(errs, field.Duplicate(scheduling.Child("tolerations").Index(i), t))
			}
		}
	}
	return errs
}
