package api

import (
	"time"

	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: storagemigrationv1.SchemeGroupVersion,
		Name:         "StorageVersionMigration", Resource: "storageversionmigrations", Singular: "storageversionmigration",
		ClusterScoped:     true,
		ConditionalUpdate: true,
		New:               func() runtime.Object { return &storagemigrationv1.StorageVersionMigration{} },
		NewList:           func() runtime.Object { return &storagemigrationv1.StorageVersionMigrationList{} },
		Validate: check(func(m *storagemigrationv1.StorageVersionMigration) field.ErrorList {
			return validateMigrated(m.Spec.Resource, field.NewPath("spec", "resource"))
		}),
		ValidateUpdate: checkOld(func(m, old *storagemigrationv1.StorageVersionMigration) field.ErrorList {
			return validation.ValidateImmutableField(m.Spec.Resource, old.Spec.Resource, field.NewPath("spec", "resource"))
		}),
		ValidateStatusUpdate: checkOld(validateMigrationStatusUpdate),
		Columns:              []metav1.TableColumnDefinition{nameColumn, createdColumn},
		Row: row(func(m *storagemigrationv1.StorageVersionMigration, _ time.Time) []any {
			return []any{m.Name, created(m.CreationTimestamp)}
		}),
		HasStatus: true,
	})
}

// validateMigrated allows the group to be absent: that is the core group.
func validateMigrated(r metav1.GroupResource, path *field.Path) (errs field.ErrorList) {
	if r.Group != "" {
		errs = append(errs, faults(path.Child("group"), r.Group, utilvalidation.IsDNS1123Subdomain(r.Group))...)
	}
	if r.Resource == "" {
		return append(errs, field.Required(path.Child("resource"), "resource is required"))
	}
	return append(errs, faults(path.Child("resource"), r.Resource, utilvalidation.IsDNS1123Label(r.Resource))...)
}

// validateMigrationStatusUpdate: a migration that ended, well or badly, stays ended, and begins but once.
func validateMigrationStatusUpdate(m, old *storagemigrationv1.StorageVersionMigration) field.ErrorList {
	s, was, status := &m.Status, &old.Status, field.NewPath("status")
	path := status.Child("conditions")
	errs := metavalidation.ValidateConditions(s.Conditions, path)
	if was.ResourceVersion != "" && s.ResourceVersion != was.ResourceVersion {
		errs = append(errs, field.Invalid(status.Child("resourceVersion"), s.ResourceVersion, "resourceVersion cannot be updated"))
	}
	is := func(s *storagemigrationv1.StorageVersionMigrationStatus, t storagemigrationv1.MigrationConditionType) bool {
		return meta.IsStatusConditionTrue(s.Conditions, string(t))
	}
	succeeded, failed, running := is(s, storagemigrationv1.MigrationSucceeded), is(s, storagemigrationv1.MigrationFailed), is(s, storagemigrationv1.MigrationRunning)
	refuse := func(bad bool, words string) {
		if bad {
			errs = append(errs, field.Invalid(path, s.Conditions, words))
		}
	}
	refuse(succeeded && failed, "Both success and failed conditions cannot be true at the same time")
	refuse(succeeded && running, "Running condition cannot be true when success condition is true")
	refuse(failed && running, "Running condition cannot be true when failed condition is true")
	refuse(is(was, storagemigrationv1.MigrationSucceeded) && !succeeded, "Success condition cannot be set to false once it is true")
	refuse(is(was, storagemigrationv1.MigrationFailed) && !failed, "Failed condition cannot be set to false once it is true")
	return errs
}
