package api

import (
	"time"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: storagev1.SchemeGroupVersion,
		Name:         "VolumeAttributesClass", Resource: "volumeattributesclasses", Singular: "volumeattributesclass", ShortNames: []string{"vac"},
		NotActedOn:     noCSI,
		ClusterScoped:  true,
		New:            func() runtime.Object { return &storagev1.VolumeAttributesClass{} },
		NewList:        func() runtime.Object { return &storagev1.VolumeAttributesClassList{} },
		Validate:       check(validateVolumeAttributesClass),
		ValidateUpdate: checkOld(validateVolumeAttributesClassUpdate),
		Columns:        []metav1.TableColumnDefinition{nameColumn, textColumn("DriverName", "The driver that the attributes are for."), ageColumn},
		Row: row(func(c *storagev1.VolumeAttributesClass, now time.Time) []any {
			return []any{c.Name, c.DriverName, age(c.CreationTimestamp, now)}
		}),
	})
}

func validateVolumeAttributesClass(c *storagev1.VolumeAttributesClass) field.ErrorList {
	errs := validateProvisioner(c.DriverName, field.NewPath("driverName"))
	if len(c.Parameters) == 0 {
		errs = append(errs, field.Required(field.NewPath("parameters"), "must contain at least one key/value pair"))
	}
	return append(errs, validateParameters(c.Parameters, field.NewPath("parameters"))...)
}

func validateVolumeAttributesClassUpdate(c, old *storagev1.VolumeAttributesClass) field.ErrorList {
	errs := validateVolumeAttributesClass(c)
	errs = append(errs, validation.ValidateImmutableField(c.DriverName, old.DriverName, field.NewPath("driverName"))...)
	return append(errs, validation.ValidateImmutableField(c.Parameters, old.Parameters, field.NewPath("parameters"))...)
}
