package api

import (
	"fmt"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: storagev1.SchemeGroupVersion,
		Name:         "CSINode", Resource: "csinodes", Singular: "csinode",
		NotActedOn:        noCSI,
		ClusterScoped:     true,
		ConditionalUpdate: true,
		New:               func() runtime.Object { return &storagev1.CSINode{} },
		NewList:           func() runtime.Object { return &storagev1.CSINodeList{} },
		// The status is alpha (CSIVolumeHealth): nobody writes it, and it has no subresource.
		PrepareForCreate: with(func(n *storagev1.CSINode) { n.Status = storagev1.CSINodeStatus{} }),
		PrepareForUpdate: withOld(func(n, old *storagev1.CSINode) { n.Status = *old.Status.DeepCopy() }),
		Validate:         check(validateCSINode),
		ValidateUpdate:   checkOld(validateCSINodeUpdate),
		Columns:          []metav1.TableColumnDefinition{nameColumn, numberColumn("Drivers", "How many drivers the node has."), ageColumn},
		Row: row(func(n *storagev1.CSINode, now time.Time) []any {
			return []any{n.Name, int64(len(n.Spec.Drivers)), age(n.CreationTimestamp, now)}
		}),
	})
}

func validateCSINode(n *storagev1.CSINode) (errs field.ErrorList) {
	names := sets.New[string]()
	for i := range n.Spec.Drivers {
		d, at := &n.Spec.Drivers[i], field.NewPath("spec", "drivers").Index(i)
		errs = append(errs, validateCSINodeDriver(d, at)...)
		if names.Has(d.Name) {
			errs = append(errs, field.Duplicate(at.Child("name"), d.Name))
		}
		names.Insert(d.Name)
	}
	return errs
}

func validateCSINodeDriver(d *storagev1.CSINodeDriver, path *field.Path) field.ErrorList {
	errs := validateCSIDriverName(d.Name, path.Child("name"))
	id := path.Child("nodeID")
	switch {
	case d.NodeID == "":
		errs = append(errs, field.Required(id, ""))
	case len(d.NodeID) > csiNodeIDBytesMax:
		errs = append(errs, field.Invalid(id, d.NodeID, fmt.Sprintf("must be %d characters or less", csiNodeIDBytesMax)))
	}
	if a := d.Allocatable; a != nil && a.Count != nil {
		errs = append(errs, nonnegative(int64(*a.Count), path.Child("allocatable", "count"))...)
	}
	keys := sets.New[string]()
	for _, key := range d.TopologyKeys {
		if key == "" {
			errs = append(errs, field.Required(path, key))
		}
		if keys.Has(key) {
			errs = append(errs, field.Duplicate(path, key))
		}
		keys.Insert(key)
		errs = append(errs, faults(path, key, utilvalidation.IsQualifiedName(key))...)
	}
	return errs
}

// validateCSINodeUpdate: drivers come and go, but how one knows the node stays, except for how many volumes it can have there.
func validateCSINodeUpdate(n, old *storagev1.CSINode) field.ErrorList {
	errs := validateCSINode(n)
	for _, was := range old.Spec.Drivers {
		for _, is := range n.Spec.Drivers {
			if was.Allocatable = is.Allocatable; is.Name == was.Name && !equality.Semantic.DeepEqual(is, was) {
				errs = append(errs, field.Invalid(field.NewPath("CSINodeDriver"), is, validation.FieldImmutableErrorMsg))
			}
		}
	}
	return errs
}
