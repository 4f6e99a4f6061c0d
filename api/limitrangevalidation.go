package api

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateLimitRange(r *corev1.LimitRange) (errs field.ErrorList) {
	seen := sets.New[corev1.LimitType]()
	for i := range r.Spec.Limits {
		l, path := &r.Spec.Limits[i], field.NewPath("spec", "limits").Index(i)
		errs = append(errs, validateLimitType(l.Type, path.Child("type"))...)
		if seen.Has(l.Type) {
			errs = append(errs, field.Duplicate(path.Child("type"), l.Type))
		}
		seen.Insert(l.Type)
		errs = append(errs, validateLimits(l, path)...)
	}
	return errs
}

// validateLimitType: limits are for one of three kinds, or for something with a domain of its own.
func validateLimitType(t corev1.LimitType, path *field.Path) field.ErrorList {
	if errs := faults(path, t, utilvalidation.IsQualifiedName(string(t))); len(errs) > 0 {
		return errs
	}
	switch t {
	case corev1.LimitTypePod, corev1.LimitTypeContainer, corev1.LimitTypePersistentVolumeClaim:
		return nil
	}
	if strings.Contains(string(t), "/") {
		return nil
	}
	return field.ErrorList{field.Invalid(path, t, "must be a standard limit type or fully qualified")}
}

func validateLimits(l *corev1.LimitRangeItem, path *field.Path) (errs field.ErrorList) {
	names := sets.New[corev1.ResourceName]()
	gather := func(field string, list corev1.ResourceList) {
		for _, name := range sortedKeys(list) {
			errs = append(errs, validateLimitedResource(l.Type, name, path.Child(field).Key(string(name)))...)
			names.Insert(name)
		}
	}
	gather("max", l.Max)
	gather("min", l.Min)
	if l.Type == corev1.LimitTypePod {
		forbid := func(name string, list corev1.ResourceList) {
			if len(list) > 0 {
				errs = append(errs, field.Forbidden(path.Child(name), "may not be specified when `type` is 'Pod'"))
			}
		}
		forbid("default", l.Default)
		forbid("defaultRequest", l.DefaultRequest)
	} else {
		gather("default", l.Default)
		gather("defaultRequest", l.DefaultRequest)
	}
	if l.Type == corev1.LimitTypePersistentVolumeClaim && !has(l.Min, corev1.ResourceStorage) && !has(l.Max, corev1.ResourceStorage) {
		errs = append(errs, field.Required(path.Child("limits"), "either minimum or maximum storage value is required, but neither was provided"))
	}
	gather("maxLimitRequestRatio", l.MaxLimitRequestRatio)
	for _, name := range sets.List(names) {
		errs = append(errs, validateLimitOrder(l, name, path)...)
		errs = append(errs, validateLimitRatio(l, name, path.Child("maxLimitRequestRatio").Key(string(name)))...)
	}
	return errs
}

func has(list corev1.ResourceList, name corev1.ResourceName) bool {
	_, ok := list[name]
	return ok
}

func validateLimitedResource(t corev1.LimitType, name corev1.ResourceName, path *field.Path) field.ErrorList {
	if t == corev1.LimitTypePod || t == corev1.LimitTypeContainer {
		return validateContainerResourceName(name, path)
	}
	return validateStandardResource(name, path)
}

// validateLimitOrder checks, for one resource: min <= default request <= default limit <= max. Of a fault it shows the value that
// Kubernetes shows, which is not always that of the field.
func validateLimitOrder(l *corev1.LimitRangeItem, name corev1.ResourceName, path *field.Path) (errs field.ErrorList) {
	least, hasLeast := l.Min[name]
	most, hasMost := l.Max[name]
	limit, hasLimit := l.Default[name]
	request, hasRequest := l.DefaultRequest[name]
	if l.Type == corev1.LimitTypePod {
		hasLimit, hasRequest = false, false
	}
	ordered := func(known bool, a, b resource.Quantity, child string, shown resource.Quantity, format string) {
		if known && a.Cmp(b) > 0 {
			errs = append(errs, field.Invalid(path.Child(child).Key(string(name)), shown, fmt.Sprintf(format, a.String(), b.String())))
		}
	}
	ordered(hasLeast && hasMost, least, most, "min", least, "min value %s is greater than max value %s")
	ordered(hasRequest && hasLeast, least, request, "defaultRequest", request, "min value %s is greater than default request value %s")
	ordered(hasRequest && hasMost, request, most, "defaultRequest", request, "default request value %s is greater than max value %s")
	ordered(hasRequest && hasLimit, request, limit, "defaultRequest", request, "default request value %s is greater than default limit value %s")
	ordered(hasLimit && hasLeast, least, limit, "default", least, "min value %s is greater than default value %s")
	ordered(hasLimit && hasMost, limit, most, "default", most, "default value %s is greater than max value %s")
	if hasRequest && hasLimit && !overcommittable(name) && request.Cmp(limit) != 0 {
		errs = append(errs, field.Invalid(path.Child("defaultRequest").Key(string(name)), request,
			fmt.Sprintf("default value %s must equal to defaultRequest value %s in %s", limit.String(), request.String(), name)))
	}
	return errs
}

// validateLimitRatio: a limit is never below its request, and between the least and the most there is no more room than max/min.
func validateLimitRatio(l *corev1.LimitRangeItem, name corev1.ResourceName, path *field.Path) (errs field.ErrorList) {
	ratio, ok := l.MaxLimitRequestRatio[name]
	if !ok {
		return nil
	}
	if ratio.Cmp(*resource.NewQuantity(1, resource.DecimalSI)) < 0 {
		errs = append(errs, field.Invalid(path, ratio, fmt.Sprintf("ratio %s is less than 1", ratio.String())))
	}
	least, hasLeast := l.Min[name]
	most, hasMost := l.Max[name]
	if !hasLeast || !hasMost {
		return errs
	}
	if wanted, room := proportion(ratio, least, most); wanted > room {
		errs = append(errs, field.Invalid(path, ratio, fmt.Sprintf("ratio %s is greater than max/min = %f", ratio.String(), room)))
	}
	return errs
}

// proportion gives the ratio and max/min as floats. They are computed of thousandths if all can be told in those, as of small numbers
// (300m/100m) the floats themselves are not exact.
func proportion(ratio, least, most resource.Quantity) (wanted, room float64) {
	if max(ratio.Value(), least.Value(), most.Value()) < resource.MaxMilliValue {
		return float64(ratio.MilliValue()) / 1000, float64(most.MilliValue()) / float64(least.MilliValue())
	}
	return float64(ratio.Value()), float64(most.Value()) / float64(least.Value())
}
