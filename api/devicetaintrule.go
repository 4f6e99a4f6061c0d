package api

import (
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: resourcev1.SchemeGroupVersion,
		Name:         "DeviceTaintRule", Resource: "devicetaintrules", Singular: "devicetaintrule",
		NotActedOn:       noDevices,
		ClusterScoped:    true,
		New:              func() runtime.Object { return &resourcev1.DeviceTaintRule{} },
		NewList:          func() runtime.Object { return &resourcev1.DeviceTaintRuleList{} },
		PrepareForCreate: with(func(r *resourcev1.DeviceTaintRule) { stampTaint(&r.Spec.Taint) }),
		PrepareForUpdate: withOld(prepareTaintRuleUpdate),
		Validate:         check(func(r *resourcev1.DeviceTaintRule) field.ErrorList { return validateTaintRule(&r.Spec, nil) }),
		ValidateUpdate: checkOld(func(r, old *resourcev1.DeviceTaintRule) field.ErrorList {
			return validateTaintRule(&r.Spec, &old.Spec)
		}),
		ValidateStatusUpdate: checkOld(validateTaintRuleStatus),
		Columns:              []metav1.TableColumnDefinition{nameColumn, ageColumn},
		Row: row(func(r *resourcev1.DeviceTaintRule, now time.Time) []any {
			return []any{r.Name, age(r.CreationTimestamp, now)}
		}),
		HasStatus:     true,
		HasGeneration: true,
	})
}

// prepareTaintRuleUpdate: another effect begins now, unless the user says when.
func prepareTaintRuleUpdate(r, old *resourcev1.DeviceTaintRule) {
	now, before := &r.Spec.Taint, &old.Spec.Taint
	if now.Effect != before.Effect && equality.Semantic.DeepEqual(now.TimeAdded, before.TimeAdded) {
		now.TimeAdded = nil
	}
	stampTaint(now)
}

// validateTaintRule checks which devices are tainted, and with what; old is nil on create.
func validateTaintRule(s, old *resourcev1.DeviceTaintRuleSpec) field.ErrorList {
	spec := field.NewPath("spec")
	errs := declared(resourcev1.Validate_DeviceTaintRuleSpec, spec, s, old)
	if d := s.DeviceSelector; d != nil {
		path := spec.Child("deviceSelector")
		if d.Driver != nil {
			errs = append(errs, validateCSIDriverName(*d.Driver, path.Child("driver"))...)
		}
		if d.Pool != nil {
			errs = append(errs, validatePoolName(*d.Pool, path.Child("pool"))...)
		}
		if d.Device != nil {
			errs = append(errs, validateDeviceLabel(*d.Device, path.Child("device"))...)
		}
	}
	return append(errs, validateDeviceTaint(&s.Taint, spec.Child("taint"))...)
}

func validateTaintRuleStatus(r, _ *resourcev1.DeviceTaintRule) field.ErrorList {
	path := field.NewPath("status", "conditions")
	errs := tooMany(len(r.Status.Conditions), resourcev1.DeviceTaintRuleStatusMaxConditions, path)
	return append(errs, metavalidation.ValidateConditions(r.Status.Conditions, path)...)
}
