package api

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateResourceName: a resource is a qualified name; without a domain it is one of Kubernetes' own.
func validateResourceName(name corev1.ResourceName, path *field.Path) field.ErrorList {
	if errs := faults(path, name, utilvalidation.IsQualifiedName(string(name))); len(errs) > 0 {
		return errs
	}
	return nil
}

// native resources have no domain, or Kubernetes' own.
func native(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

func hugePages(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// overcommittable resources may be limited above what is requested.
func overcommittable(name corev1.ResourceName) bool { return native(name) && !hugePages(name) }

func validateQuantity(name corev1.ResourceName, q resource.Quantity, path *field.Path) (errs field.ErrorList) {
	if q.Sign() < 0 {
		errs = append(errs, field.Invalid(path, q.String(), "must be greater than or equal to 0"))
	}
	if whole := !native(name) || name == corev1.ResourcePods; whole && q.MilliValue()%1000 != 0 {
		errs = append(errs, field.Invalid(path, q, "must be an integer"))
	}
	return errs
}

// validateContainerResourceName says whether a container may ask for the resource.
func validateContainerResourceName(name corev1.ResourceName, path *field.Path) field.ErrorList {
	if errs := validateResourceName(name, path); len(errs) > 0 {
		return errs
	}
	switch {
	case name == corev1.ResourceCPU, name == corev1.ResourceMemory, name == corev1.ResourceEphemeralStorage, hugePages(name):
		return nil
	case !strings.Contains(string(name), "/"):
		return field.ErrorList{field.Invalid(path, name, "must be a standard resource for containers")}
	case native(name):
		return field.ErrorList{field.Invalid(path, name, "must be a standard resource for containers")}
	}
	return nil
}

func validateResources(r *corev1.ResourceRequirements, path *field.Path) (errs field.ErrorList) {
	limits, requests := path.Child("limits"), path.Child("requests")
	for _, name := range sortedKeys(r.Limits) {
		q, at := r.Limits[name], limits.Key(string(name))
		errs = append(errs, validateContainerResourceName(name, at)...)
		errs = append(errs, validateQuantity(name, q, at)...)
	}
	for _, name := range sortedKeys(r.Requests) {
		q, at := r.Requests[name], requests.Key(string(name))
		errs = append(errs, validateContainerResourceName(name, at)...)
		errs = append(errs, validateQuantity(name, q, at)...)
		limit, limited := r.Limits[name]
		switch {
		case !limited && !overcommittable(name):
			errs = append(errs, field.Required(limits, "Limit must be set for non overcommitable resources"))
		case limited && !overcommittable(name) && q.Cmp(limit) != 0:
			errs = append(errs, field.Invalid(requests, q.String(), fmt.Sprintf("must be equal to %s limit of %s", name, limit.String())))
		case limited && q.Cmp(limit) > 0:
			errs = append(errs, field.Invalid(requests, q.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		}
	}
	return errs
}
