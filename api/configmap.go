package api

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: corev1.SchemeGroupVersion,
		Name:         "ConfigMap", Resource: "configmaps", Singular: "configmap", ShortNames: []string{"cm"},
		New:            func() runtime.Object { return &corev1.ConfigMap{} },
		NewList:        func() runtime.Object { return &corev1.ConfigMapList{} },
		Validate:       check(validateConfigMap),
		ValidateUpdate: checkOld(validateConfigMapUpdate),
		Columns: []metav1.TableColumnDefinition{
			nameColumn, numberColumn("Data", "How many keys the map holds."), ageColumn,
		},
		Row: row(func(c *corev1.ConfigMap, now time.Time) []any {
			return []any{c.Name, int64(len(c.Data) + len(c.BinaryData)), age(c.CreationTimestamp, now)}
		}),
	})
}

func validateConfigMap(c *corev1.ConfigMap) (errs field.ErrorList) {
	size := 0
	data, binary := field.NewPath("data"), field.NewPath("binaryData")
	for _, key := range sortedKeys(c.Data) {
		errs = append(errs, validateDataKey(key, data)...)
		if _, both := c.BinaryData[key]; both {
			errs = append(errs, field.Invalid(data.Key(key), key, "duplicate of key present in binaryData"))
		}
		size += len(c.Data[key])
	}
	for _, key := range sortedKeys(c.BinaryData) {
		errs = append(errs, validateDataKey(key, binary)...)
		size += len(c.BinaryData[key])
	}
	if size > dataBytesMax {
		// The fault is of the whole object, so it has no path; the detail is the size alone.
		errs = append(errs, field.TooLong(field.NewPath(""), "", dataBytesMax))
	}
	return errs
}

func validateDataKey(key string, path *field.Path) (errs field.ErrorList) {
	for _, msg := range validation.IsConfigMapKey(key) {
		errs = append(errs, field.Invalid(path.Key(key), key, msg))
	}
	return errs
}

func validateConfigMapUpdate(c, old *corev1.ConfigMap) (errs field.ErrorList) {
	if isTrue(old.Immutable) {
		errs = append(errs, stillImmutable(c.Immutable)...)
		errs = append(errs, frozen(c.Data, old.Data, field.NewPath("data"))...)
		errs = append(errs, frozen(c.BinaryData, old.BinaryData, field.NewPath("binaryData"))...)
	}
	return append(errs, validateConfigMap(c)...)
}
