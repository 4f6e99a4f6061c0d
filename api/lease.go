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
		New:            func() runtime.Object { return &coordinationv1.Lease{} },
		NewList:        func() runtime.Object { return &coordinationv1.LeaseList{} },
		Validate:       check(validateLease),
		ValidateUpdate: checkOld(func(l, _ *coordinationv1.Lease) field.ErrorList { return validateLease(l) }),
		Columns: []metav1.TableColumnDefinition{
			nameColumn, textColumn("Holder", "Who holds the lease."), ageColumn,
		},
		Row: row(func(l *coordinationv1.Lease, now time.Time) []any {
			holder := ""
			if l.Spec.HolderIdentity != nil {
				holder = *l.Spec.HolderIdentity
			}
			return []any{l.Name, holder, age(l.CreationTimestamp, now)}
		}),
		CreateOnUpdate: true,
	})
}

func validateLease(l *coordinationv1.Lease) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	if d := l.Spec.LeaseDurationSeconds; d != nil && *d <= 0 {
		errs = append(errs, field.Invalid(spec.Child("leaseDurationSeconds"), *d, "must be greater than 0"))
	}
	if n := l.Spec.LeaseTransitions; n != nil && *n < 0 {
		errs = append(errs, field.Invalid(spec.Child("leaseTransitions"), *n, "must be greater than or equal to 0"))
	}
	if h := l.Spec.HolderIdentity; h != nil && *h == "" && l.Spec.Strategy != nil {
		errs = append(errs, field.Invalid(spec.Child("holderIdentity"), *h, "must not be empty"))
	}
	if l.Spec.PreferredHolder != nil && *l.Spec.PreferredHolder != "" && (l.Spec.Strategy == nil || *l.Spec.Strategy == "") {
		errs = append(errs, field.Forbidden(spec.Child("preferredHolder"), "may only be specified when `strategy` is defined"))
	}
	return errs
}
