package api

import (
	"context"
	"fmt"
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/operation"
	"k8s.io/apimachinery/pkg/api/validate"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateResourceClaim(c *resourcev1.ResourceClaim) field.ErrorList {
	return validateResourceClaimSpec(&c.Spec, nil, field.NewPath("spec"), false)
}

// validateResourceClaimUpdate: devices are allocated for what was asked, so it cannot be asked differently.
func validateResourceClaimUpdate(c, old *resourcev1.ResourceClaim) field.ErrorList {
	spec := field.NewPath("spec")
	return append(immutable(c.Spec, old.Spec, spec), validateResourceClaimSpec(&c.Spec, &old.Spec, spec, true)...)
}

// immutable speaks as Kubernetes' declared rules do, which do not show the value.
func immutable[T any](now, before T, path *field.Path) field.ErrorList {
	if equality.Semantic.DeepEqual(now, before) {
		return nil
	}
	return validate.Immutable(context.Background(), operation.Operation{Type: operation.Update}, path, now, before)
}

// validateResourceClaimSpec also serves templates. stored says that its expressions were accepted before.
func validateResourceClaimSpec(s, old *resourcev1.ResourceClaimSpec, path *field.Path, stored bool) field.ErrorList {
	errs := declared(resourcev1.Validate_ResourceClaimSpec, path, s, old)
	c, devices := &s.Devices, path.Child("devices")
	for i := range c.Requests {
		errs = append(errs, validateDeviceRequest(&c.Requests[i], devices.Child("requests").Index(i), stored)...)
	}
	names := requestNamesOf(c)
	for i := range c.Constraints {
		errs = append(errs, validateDeviceConstraint(&c.Constraints[i], names, devices.Child("constraints").Index(i))...)
	}
	for i := range c.Config {
		at := devices.Child("config").Index(i)
		errs = append(errs, names.validateRefs(c.Config[i].Requests, at.Child("requests"))...)
		errs = append(errs, validateDeviceConfig(&c.Config[i].DeviceConfiguration, at)...)
	}
	return errs
}

// requestNames holds the names of a claim's requests: "gpu", and "gpu/large" for one of the alternatives of a request.
type requestNames sets.Set[string]

func requestNamesOf(c *resourcev1.DeviceClaim) requestNames {
	names := sets.New[string]()
	for _, r := range c.Requests {
		names.Insert(r.Name)
		for _, s := range r.FirstAvailable {
			names.Insert(r.Name + "/" + s.Name)
		}
	}
	return requestNames(names)
}

func (n requestNames) validateRefs(refs []string, path *field.Path) (errs field.ErrorList) {
	for i, ref := range refs {
		errs = append(errs, n.validateRef(ref, path.Index(i))...)
	}
	return errs
}

func (n requestNames) validateRef(ref string, path *field.Path) (errs field.ErrorList) {
	parts := strings.Split(ref, "/")
	if len(parts) <= 2 {
		for _, part := range parts {
			errs = append(errs, validateDeviceLabel(part, path)...)
		}
	}
	if _, ok := n[ref]; !ok {
		errs = append(errs, field.Invalid(path, ref,
			"must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"))
	}
	return errs
}

func validateDeviceRequest(r *resourcev1.DeviceRequest, path *field.Path, stored bool) field.ErrorList {
	const one = "exactly one of `exactly` or `firstAvailable` is required"
	errs := validateDeviceLabel(r.Name, path.Child("name"))
	switch {
	case r.Exactly != nil && len(r.FirstAvailable) > 0:
		errs = append(errs, field.Invalid(path, nil, one+", but multiple fields are set"))
	case r.Exactly != nil:
		errs = append(errs, validateExactRequest(r.Exactly, path.Child("exactly"), stored)...)
	case len(r.FirstAvailable) == 0:
		errs = append(errs, field.Required(path, one))
	default:
		for i := range r.FirstAvailable {
			errs = append(errs, validateSubRequest(&r.FirstAvailable[i], path.Child("firstAvailable").Index(i), stored)...)
		}
	}
	return errs
}

func validateExactRequest(r *resourcev1.ExactDeviceRequest, path *field.Path, stored bool) field.ErrorList {
	errs := validateDeviceClassName(r.DeviceClassName, path.Child("deviceClassName"))
	errs = append(errs, validateDeviceSelectors(r.Selectors, path.Child("selectors"), stored)...)
	errs = append(errs, validateDeviceCount(r.AllocationMode, r.Count, path.Child("count"))...)
	errs = append(errs, validateDeviceTolerations(r.Tolerations, path.Child("tolerations"))...)
	return append(errs, validateCapacityRequests(r.Capacity, path.Child("capacity", "requests"))...)
}

func validateSubRequest(r *resourcev1.DeviceSubRequest, path *field.Path, stored bool) field.ErrorList {
	errs := validateDeviceLabel(r.Name, path.Child("name"))
	errs = append(errs, validateDeviceSelectors(r.Selectors, path.Child("selectors"), stored)...)
	errs = append(errs, validateDeviceCount(r.AllocationMode, r.Count, path.Child("count"))...)
	errs = append(errs, validateDeviceTolerations(r.Tolerations, path.Child("tolerations"))...)
	return append(errs, validateCapacityRequests(r.Capacity, path.Child("capacity", "requests"))...)
}

func validateDeviceCount(mode resourcev1.DeviceAllocationMode, count int64, path *field.Path) field.ErrorList {
	switch {
	case mode == resourcev1.DeviceAllocationModeAll && count != 0:
		return field.ErrorList{field.Invalid(path, count, fmt.Sprintf("must not be specified when allocationMode is '%s'", mode))}
	case mode == resourcev1.DeviceAllocationModeExactCount && count <= 0:
		return field.ErrorList{field.Invalid(path, count, "must be greater than zero")}
	}
	return nil
}

func validateCapacityRequests(c *resourcev1.CapacityRequirements, path *field.Path) (errs field.ErrorList) {
	if c == nil {
		return nil
	}
	for _, name := range sortedKeys(c.Requests) {
		at, q := path.Key(string(name)), c.Requests[name]
		errs = append(errs, validateQualifiedName(name, at)...)
		if q.Sign() < 0 {
			errs = append(errs, field.Invalid(at, q.String(), "must be greater than or equal to zero"))
		}
	}
	return errs
}

func validateDeviceConstraint(c *resourcev1.DeviceConstraint, names requestNames, path *field.Path) field.ErrorList {
	const one = "exactly one of `matchAttribute` or `distinctAttribute` is required"
	errs := names.validateRefs(c.Requests, path.Child("requests"))
	switch {
	case c.MatchAttribute != nil && c.DistinctAttribute != nil:
		errs = append(errs, field.Invalid(path, nil, one+", but multiple fields are set"))
	case c.MatchAttribute == nil && c.DistinctAttribute == nil:
		errs = append(errs, field.Required(path, one))
	}
	return errs
}

func validateResourceClaimStatus(c, old *resourcev1.ResourceClaim) field.ErrorList {
	s, path := &c.Status, field.NewPath("status")
	errs := declared(resourcev1.Validate_ResourceClaimStatus, path, s, &old.Status)
	errs = append(errs, validateReservedFor(c, old, path.Child("reservedFor"))...)
	allocated := allocatedDevices(s.Allocation)
	for i := range s.Devices {
		errs = append(errs, validateDeviceStatus(&s.Devices[i], allocated, path.Child("devices").Index(i))...)
	}
	// What was allocated before was valid then, and does not change.
	if s.Allocation != nil && old.Status.Allocation == nil {
		errs = append(errs, validateAllocation(s.Allocation, requestNamesOf(&c.Spec.Devices), path.Child("allocation"))...)
	}
	return errs
}

// validateReservedFor: only devices that are there can be reserved, and nobody new may reserve a claim that is going.
func validateReservedFor(c, old *resourcev1.ResourceClaim, path *field.Path) (errs field.ErrorList) {
	for i, r := range c.Status.ReservedFor {
		at := path.Index(i)
		errs = append(errs, required(r.Resource, at.Child("resource"))...)
		errs = append(errs, required(r.Name, at.Child("name"))...)
		errs = append(errs, required(string(r.UID), at.Child("uid"))...)
	}
	isNew := func(r resourcev1.ResourceClaimConsumerReference) bool {
		return !slices.Contains(old.Status.ReservedFor, r)
	}
	switch {
	case len(c.Status.ReservedFor) > 0 && c.Status.Allocation == nil:
		errs = append(errs, field.Forbidden(path, "may not be specified when `allocated` is not set"))
	case c.DeletionTimestamp != nil && slices.ContainsFunc(c.Status.ReservedFor, isNew):
		errs = append(errs, field.Forbidden(path, "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"))
	}
	return errs
}

func validateAllocation(a *resourcev1.AllocationResult, names requestNames, path *field.Path) (errs field.ErrorList) {
	devices := path.Child("devices")
	for i := range a.Devices.Results {
		r, at := &a.Devices.Results[i], devices.Child("results").Index(i)
		errs = append(errs, names.validateRef(r.Request, at.Child("request"))...)
		errs = append(errs, validateDeviceLabel(r.Device, at.Child("device"))...)
		errs = append(errs, validateDeviceTolerations(r.Tolerations, at.Child("tolerations"))...)
		errs = append(errs, validateBindingConditions(r.BindingConditions, r.BindingFailureConditions, at)...)
	}
	for i := range a.Devices.Config {
		c, at := &a.Devices.Config[i], devices.Child("config").Index(i)
		errs = append(errs, names.validateRefs(c.Requests, at.Child("requests"))...)
		errs = append(errs, validateDeviceConfig(&c.DeviceConfiguration, at)...)
	}
	if a.NodeSelector != nil {
		errs = append(errs, validateNodeSelector(a.NodeSelector, path.Child("nodeSelector"))...)
	}
	return errs
}

func validateDeviceStatus(d *resourcev1.AllocatedDeviceStatus, allocated sets.Set[deviceID], path *field.Path) field.ErrorList {
	errs := validateCSIDriverName(d.Driver, path.Child("driver"))
	errs = append(errs, validatePoolName(d.Pool, path.Child("pool"))...)
	errs = append(errs, validateDeviceLabel(d.Device, path.Child("device"))...)
	if id := statusDevice(d); !allocated.Has(id) {
		errs = append(errs, field.Invalid(path, id.String(), "must be an allocated device in the claim"))
	}
	conditions := path.Child("conditions")
	errs = append(errs, tooMany(len(d.Conditions), resourcev1.AllocatedDeviceStatusMaxConditions, conditions)...)
	errs = append(errs, metavalidation.ValidateConditions(d.Conditions, conditions)...)
	if d.Data != nil && len(d.Data.Raw) > 0 {
		errs = append(errs, validateRawObject(*d.Data, path.Child("data"), resourcev1.AllocatedDeviceStatusDataMaxLength)...)
	}
	if d.NetworkData != nil {
		for i, ip := range d.NetworkData.IPs {
			errs = append(errs, utilvalidation.IsValidInterfaceAddress(path.Child("networkData", "ips").Index(i), ip)...)
		}
	}
	return errs
}
