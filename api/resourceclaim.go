package api

import (
	"fmt"
	"slices"
	"strings"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: resourcev1.SchemeGroupVersion,
		Name:         "ResourceClaim", Resource: "resourceclaims", Singular: "resourceclaim",
		NotActedOn:       noDevices,
		New:              func() runtime.Object { return &resourcev1.ResourceClaim{} },
		NewList:          func() runtime.Object { return &resourcev1.ResourceClaimList{} },
		Default:          with(defaultResourceClaim),
		PrepareForCreate: with(func(c *resourcev1.ResourceClaim) { dropAlphaRequests(&c.Spec.Devices) }),
		PrepareForUpdate: withOld(func(c, _ *resourcev1.ResourceClaim) { dropAlphaRequests(&c.Spec.Devices) }),
		PrepareForStatusUpdate: withOld(func(c, old *resourcev1.ResourceClaim) {
			dropAlphaResults(&c.Status)
			dropReleasedDevices(&c.Status, &old.Status)
		}),
		Validate:             check(validateResourceClaim),
		ValidateUpdate:       checkOld(validateResourceClaimUpdate),
		ValidateStatusUpdate: checkOld(validateResourceClaimStatus),
		Columns: []metav1.TableColumnDefinition{
			nameColumn, textColumn("State", "Whether the claim has devices, and whether pods use it."), ageColumn,
		},
		Row: row(func(c *resourcev1.ResourceClaim, now time.Time) []any {
			return []any{c.Name, claimStateText(c), age(c.CreationTimestamp, now)}
		}),
		HasStatus: true,
	})
}

func defaultResourceClaim(c *resourcev1.ResourceClaim) {
	defaultDeviceClaim(&c.Spec.Devices)
	if a := c.Status.Allocation; a != nil {
		for i := range a.Devices.Results {
			defaultTolerations(a.Devices.Results[i].Tolerations)
		}
	}
}

// defaultDeviceClaim: a request that does not say how many devices it wants wants one.
func defaultDeviceClaim(c *resourcev1.DeviceClaim) {
	for i := range c.Requests {
		if e := c.Requests[i].Exactly; e != nil {
			defaultDeviceCount(&e.AllocationMode, &e.Count)
			defaultTolerations(e.Tolerations)
		}
		for j := range c.Requests[i].FirstAvailable {
			s := &c.Requests[i].FirstAvailable[j]
			defaultDeviceCount(&s.AllocationMode, &s.Count)
			defaultTolerations(s.Tolerations)
		}
	}
}

func defaultDeviceCount(mode *resourcev1.DeviceAllocationMode, count *int64) {
	fill(mode, resourcev1.DeviceAllocationModeExactCount)
	if *mode == resourcev1.DeviceAllocationModeExactCount {
		fill(count, 1)
	}
}

func defaultTolerations(list []resourcev1.DeviceToleration) {
	for i := range list {
		fill(&list[i].Operator, resourcev1.DeviceTolerationOpEqual)
	}
}

// dropAlphaRequests clears what Kubernetes has behind feature gates that are off by default.
func dropAlphaRequests(c *resourcev1.DeviceClaim) {
	for i := range c.Requests {
		if e := c.Requests[i].Exactly; e != nil {
			e.DerivedAttributes = nil
		}
		for j := range c.Requests[i].FirstAvailable {
			c.Requests[i].FirstAvailable[j].DerivedAttributes = nil
		}
	}
}

func dropAlphaResults(s *resourcev1.ResourceClaimStatus) {
	for i := range devicesOf(s.Allocation) {
		s.Allocation.Devices.Results[i].SkipNodeOperations = nil
	}
}

// devicesOf are the devices of an allocation, which may be none.
func devicesOf(a *resourcev1.AllocationResult) []resourcev1.DeviceRequestAllocationResult {
	if a == nil {
		return nil
	}
	return a.Devices.Results
}

// deviceID names a device in a cluster; share is empty unless claims share the device.
type deviceID struct{ driver, pool, device, share string }

func (d deviceID) String() string {
	id := strings.Join([]string{d.driver, d.pool, d.device}, "/")
	if d.share != "" {
		id += "/" + d.share
	}
	return id
}

func allocatedDevices(a *resourcev1.AllocationResult) sets.Set[deviceID] {
	ids := sets.New[deviceID]()
	for _, r := range devicesOf(a) {
		ids.Insert(deviceID{r.Driver, r.Pool, r.Device, string(valueOf(r.ShareID))})
	}
	return ids
}

// dropReleasedDevices: what a driver said of a device goes with the device, so that whoever releases devices need not know of it.
func dropReleasedDevices(s, old *resourcev1.ResourceClaimStatus) {
	released := allocatedDevices(old.Allocation).Difference(allocatedDevices(s.Allocation))
	s.Devices = slices.DeleteFunc(s.Devices, func(d resourcev1.AllocatedDeviceStatus) bool { return released.Has(statusDevice(&d)) })
	if len(s.Devices) == 0 {
		s.Devices = nil
	}
}

func statusDevice(d *resourcev1.AllocatedDeviceStatus) deviceID {
	return deviceID{d.Driver, d.Pool, d.Device, valueOf(d.ShareID)}
}

func claimStateText(c *resourcev1.ResourceClaim) string {
	var states []string
	if c.DeletionTimestamp != nil {
		states = append(states, "deleted")
	}
	switch {
	case c.Status.Allocation != nil:
		states = append(states, "allocated")
		if len(c.Status.ReservedFor) > 0 {
			states = append(states, "reserved")
		}
	case c.DeletionTimestamp == nil:
		states = append(states, "pending")
	}
	return strings.Join(states, ",")
}

// CheckAdminAccess refuses a new claim or claim template that wants devices as an administrator, past all other claims to them, in a
// namespace whose labels do not allow it; so too a new allocation of such devices in a claim's status. It gives nil for other kinds.
func CheckAdminAccess(obj runtime.Object, namespaceLabels map[string]string) *field.Error {
	if !wantsAdminAccess(obj) || namespaceLabels[resourcev1.DRAAdminNamespaceLabelKey] == "true" {
		return nil
	}
	return field.Forbidden(field.NewPath(""),
		fmt.Sprintf("admin access to devices requires the `%s: true` label on the containing namespace", resourcev1.DRAAdminNamespaceLabelKey))
}

func wantsAdminAccess(obj runtime.Object) bool {
	asked := func(r resourcev1.DeviceRequest) bool { return r.Exactly != nil && isTrue(r.Exactly.AdminAccess) }
	given := func(r resourcev1.DeviceRequestAllocationResult) bool { return isTrue(r.AdminAccess) }
	switch o := obj.(type) {
	case *resourcev1.ResourceClaim:
		return slices.ContainsFunc(o.Spec.Devices.Requests, asked) || slices.ContainsFunc(devicesOf(o.Status.Allocation), given)
	case *resourcev1.ResourceClaimTemplate:
		return slices.ContainsFunc(o.Spec.Spec.Devices.Requests, asked)
	}
	return false
}
