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

// validateResourceName: a resource is a qualified name.
func validateResourceName(name corev1.ResourceName, path *field.Path) field.ErrorList {
	return faults(path, name, utilvalidation.IsQualifiedName(string(name)))
}

// validateStandardResource: without a domain, a resource is one of Kubernetes' own.
func validateStandardResource(name corev1.ResourceName, path *field.Path) field.ErrorList {
	errs := validateResourceName(name, path)
	if len(errs) == 0 && !qualified(name) && !quotaResource(name) && name != corev1.ResourceStorage {
		errs = append(errs, field.Invalid(path, name, "must be a standard resource type or fully qualified"))
	}
	return errs
}

// qualified resources have a domain.
func qualified(name corev1.ResourceName) bool { return strings.Contains(string(name), "/") }

// podCompute is what the containers of pods ask for and are limited to, as quota names it.
var podCompute = sets.New(corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory)

// objectCounts are numbers of objects, as quota names them.
var objectCounts = sets.New(corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers,
	corev1.ResourceSecrets, corev1.ResourcePersistentVolumeClaims, corev1.ResourceConfigMaps, corev1.ResourceServicesNodePorts,
	corev1.ResourceServicesLoadBalancers)

// quotaResource says whether quota knows a resource without a domain.
func quotaResource(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourceEphemeralStorage, corev1.ResourceRequestsEphemeralStorage, corev1.ResourceLimitsEphemeralStorage,
		corev1.ResourceRequestsStorage:
		return true
	}
	return podCompute.Has(name) || objectCounts.Has(name) || hugePages(name) || strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix)
}

// native resources have no domain, or Kubernetes' own.
func native(name corev1.ResourceName) bool {
	return !qualified(name) || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// ExtendedResource says whether a resource is one of devices and the like: quota asks for them by a prefix, which they may not have themselves.
func ExtendedResource(name corev1.ResourceName) bool {
	return !native(name) && !strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) &&
		len(utilvalidation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+string(name))) == 0
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
	if whole := ExtendedResource(name) || objectCounts.Has(name); whole && q.MilliValue()%1000 != 0 {
		errs = append(errs, field.Invalid(path, q, "must be an integer"))
	}
	return errs
}

// validateContainerResourceName says whether a container may ask for the resource: one of Kubernetes' own for containers, or one with a
// domain whose name leaves room for the prefix by which quota asks for it.
func validateContainerResourceName(name corev1.ResourceName, path *field.Path) field.ErrorList {
	errs := validateStandardResource(name, path)
	switch {
	case !qualified(name) && !containerResource(name):
		errs = append(errs, field.Invalid(path, name, "must be a standard resource for containers"))
	case !native(name) && !ExtendedResource(name):
		errs = append(errs, field.Invalid(path, name, "doesn't follow extended resource name standard"))
	}
	return errs
}

func containerResource(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		return true
	}
	return hugePages(name)
}

func validateResources(r *corev1.ResourceRequirements, path *field.Path) (errs field.ErrorList) {
	limits, requests := path.Child("limits"), path.Child("requests")
	for _, name := range sortedKeys(r.Limits) {
		errs = append(errs, validateAmount(name, r.Limits[name], limits.Key(string(name)))...)
	}
	for _, name := range sortedKeys(r.Requests) {
		q := r.Requests[name]
		errs = append(errs, validateAmount(name, q, requests.Key(string(name)))...)
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
	if onlyHugePages(r.Limits, r.Requests) {
		errs = append(errs, field.Forbidden(path, "HugePages require cpu or memory"))
	}
	return errs
}

// validateAmount: huge pages come whole.
func validateAmount(name corev1.ResourceName, q resource.Quantity, path *field.Path) field.ErrorList {
	errs := append(validateContainerResourceName(name, path), validateQuantity(name, q, path)...)
	if !hugePages(name) {
		return errs
	}
	page, err := resource.ParseQuantity(strings.TrimPrefix(string(name), corev1.ResourceHugePagesPrefix))
	if err != nil || page.Sign() <= 0 || q.Value()%page.Value() != 0 {
		errs = append(errs, field.Invalid(path, q.String(), fmt.Sprintf("%s is not positive integer multiple of %s", q.String(), name)))
	}
	return errs
}

// onlyHugePages: without cpu or memory nobody would know how much of a node such a pod takes.
func onlyHugePages(lists ...corev1.ResourceList) bool {
	huge := false
	for _, list := range lists {
		for name := range list {
			if name == corev1.ResourceCPU || name == corev1.ResourceMemory {
				return false
			}
			huge = huge || hugePages(name)
		}
	}
	return huge
}
