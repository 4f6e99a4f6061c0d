package api

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: coordinationv1.SchemeGroupVersion,
		Name:         "Lease", Resource: "leases", Singular: "lease",
		ConditionalUpdate: true,
		New:               func() runtime.Object { return &coordinationv1.Lease{} },
		NewList:           func() runtime.Object { return &coordinationv1.LeaseList{} },
		PrepareForCreate:  with(dropCoordination),
		PrepareForUpdate:  withOld(func(l, _ *coordinationv1.Lease) { dropCoordination(l) }),
		Validate:          check(validateLease),
		ValidateUpdate:    checkOld(func(l, _ *coordinationv1.Lease) field.ErrorList { return validateLease(l) }),
		Columns: []metav1.TableColumnDefinition{
			nameColumn, textColumn("Holder", "Who holds the lease."), ageColumn,
		},
		Row: row(func(l *coordinationv1.Lease, now time.Time) []any {
			return []any{l.Name, valueOf(l.Spec.HolderIdentity), age(l.CreationTimestamp, now)}
		}),
		CreateOnUpdate: true,
	})
}

// dropCoordination drops the fields of the feature CoordinatedLeaderElection, which is off by default.
func dropCoordination(l *coordinationv1.Lease) { l.Spec.Strategy, l.Spec.PreferredHolder = nil, nil }

func validateLease(l *coordinationv1.Lease) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	if d := l.Spec.LeaseDurationSeconds; d != nil && *d <= 0 {
		errs = append(errs, field.Invalid(spec.Child("leaseDurationSeconds"), *d, "must be greater than 0"))
	}
	if n := l.Spec.LeaseTransitions; n != nil {
		errs = append(errs, nonnegative(int64(*n), spec.Child("leaseTransitions"))...)
	}
	return errs
}
