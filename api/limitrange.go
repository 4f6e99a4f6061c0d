package api

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: corev1.SchemeGroupVersion,
		Name:         "LimitRange", Resource: "limitranges", Singular: "limitrange", ShortNames: []string{"limits"},
		New:     func() runtime.Object { return &corev1.LimitRange{} },
		NewList: func() runtime.Object { return &corev1.LimitRangeList{} },
		Default: with(defaultLimitRange),
		// A nameless range is welcome: it is named after its UID.
		PrepareForCreate: with(func(r *corev1.LimitRange) { fill(&r.Name, string(r.UID)) }),
		Validate:         check(validateLimitRange),
		ValidateUpdate:   checkOld(func(r, _ *corev1.LimitRange) field.ErrorList { return validateLimitRange(r) }),
		Columns:          []metav1.TableColumnDefinition{nameColumn, createdColumn},
		Row: row(func(r *corev1.LimitRange, _ time.Time) []any {
			return []any{r.Name, created(r.CreationTimestamp)}
		}),
		CreateOnUpdate: true,
	})
}

func defaultLimitRange(r *corev1.LimitRange) {
	for i := range r.Spec.Limits {
		defaultLimits(&r.Spec.Limits[i])
	}
}

// defaultLimits: containers are limited to the maximum unless a default is said, and request what they are limited to, or else the least.
func defaultLimits(l *corev1.LimitRangeItem) {
	if l.Type == corev1.LimitTypeContainer {
		fillResources(&l.Default, l.Max)
		fillResources(&l.DefaultRequest, l.Default)
		fillResources(&l.DefaultRequest, l.Min)
	}
	for _, list := range []corev1.ResourceList{l.Max, l.Min, l.Default, l.DefaultRequest, l.MaxLimitRequestRatio} {
		roundUp(list)
	}
}

// fillResources adds to a list what it lacks of another.
func fillResources(list *corev1.ResourceList, from corev1.ResourceList) {
	for name, q := range from {
		if _, ok := (*list)[name]; ok {
			continue
		}
		if *list == nil {
			*list = corev1.ResourceList{}
		}
		(*list)[name] = q.DeepCopy()
	}
}
