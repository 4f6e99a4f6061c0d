package api

import (
	"fmt"
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
		Name:         "CSIStorageCapacity", Resource: "csistoragecapacities", Singular: "csistoragecapacity",
		NotActedOn:        noCSI,
		ConditionalUpdate: true,
		New:               func() runtime.Object { return &storagev1.CSIStorageCapacity{} },
		NewList:           func() runtime.Object { return &storagev1.CSIStorageCapacityList{} },
		Validate:          check(validateCSIStorageCapacity),
		ValidateUpdate:    checkOld(validateCSIStorageCapacityUpdate),
		Warnings:          warnings(func(c *storagev1.CSIStorageCapacity, _ bool) []string { return capacityWarnings(c) }),
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			textColumn("StorageClassName", "The class of storage that the capacity is of."),
			textColumn("Capacity", "How much can be provisioned."),
		},
		Row: row(func(c *storagev1.CSIStorageCapacity, _ time.Time) []any {
			capacity := cellUnset
			if c.Capacity != nil {
				capacity = c.Capacity.String()
			}
			return []any{c.Name, c.StorageClassName, capacity}
		}),
	})
}

func capacityWarnings(c *storagev1.CSIStorageCapacity) (out []string) {
	if c.NodeTopology == nil {
		return nil
	}
	path := field.NewPath("nodeTopology")
	for i, r := range c.NodeTopology.MatchExpressions {
		out = append(out, labelWarnings(r.Key, path.Child("matchExpressions").Index(i).Child("key"))...)
	}
	for _, key := range sortedKeys(c.NodeTopology.MatchLabels) {
		if r, ok := renamedLabels[key]; ok {
			out = append(out, fmt.Sprintf("%s: deprecated since %s; use %q instead", path.Child("matchLabels").Key(key), r.since, r.name))
		}
	}
	return out
}

func validateCSIStorageCapacity(c *storagev1.CSIStorageCapacity) field.ErrorList {
	errs := validateSelector(c.NodeTopology, field.NewPath("nodeTopology"))
	errs = append(errs, validateClassName(c.StorageClassName, field.NewPath("storageClassName"))...)
	if c.Capacity != nil {
		errs = append(errs, validateNonnegativeQuantity(*c.Capacity, field.NewPath("capacity"))...)
	}
	if c.MaximumVolumeSize != nil {
		errs = append(errs, validateNonnegativeQuantity(*c.MaximumVolumeSize, field.NewPath("maximumVolumeSize"))...)
	}
	return errs
}

// validateCSIStorageCapacityUpdate: what was asked of the driver stays; only its answer changes.
func validateCSIStorageCapacityUpdate(c, old *storagev1.CSIStorageCapacity) field.ErrorList {
	errs := validateCSIStorageCapacity(c)
	errs = append(errs, validation.ValidateImmutableField(c.NodeTopology, old.NodeTopology, field.NewPath("nodeTopology"))...)
	return append(errs, validation.ValidateImmutableField(c.StorageClassName, old.StorageClassName, field.NewPath("storageClassName"))...)
}
