package api

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateResourceSliceUpdate(s, old *resourcev1.ResourceSlice) field.ErrorList {
	spec := field.NewPath("spec")
	errs := validateResourceSlice(&s.Spec, &old.Spec)
	errs = append(errs, validation.ValidateImmutableField(s.Spec.Pool.Name, old.Spec.Pool.Name, spec.Child("pool", "name"))...)
	errs = append(errs, validation.ValidateImmutableField(s.Spec.Driver, old.Spec.Driver, spec.Child("driver"))...)
	return append(errs, validation.ValidateImmutableField(s.Spec.NodeName, old.Spec.NodeName, spec.Child("nodeName"))...)
}

// validateResourceSlice checks what a driver says of its devices; old is nil on create.
func validateResourceSlice(s, old *resourcev1.ResourceSliceSpec) field.ErrorList {
	spec := field.NewPath("spec")
	errs := declared(resourcev1.Validate_ResourceSliceSpec, spec, s, old)
	errs = append(errs, validateCSIDriverName(s.Driver, spec.Child("driver"))...)
	errs = append(errs, validatePool(&s.Pool, spec.Child("pool"))...)

	where := nodeChoice{path: spec}
	where.name(s.NodeName)
	where.selector(s.NodeSelector)
	where.flag("allNodes", s.AllNodes)
	where.flag("perDeviceNodeSelection", s.PerDeviceNodeSelection)
	errs = append(errs, where.exactlyOne(
		"exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required", ", but multiple fields are set")...)

	devices := spec.Child("devices")
	if len(s.Devices) > 0 && len(s.SharedCounters) > 0 {
		errs = append(errs, field.Invalid(spec, "{`sharedCounters`, `devices`}", "only one of `sharedCounters` or `devices` is allowed"))
	}
	errs = append(errs, tooMany(len(s.Devices), devicesMax(s.Devices), devices)...)
	seen := sets.New[string]()
	for i := range s.Devices {
		errs = append(errs, validateDevice(&s.Devices[i], isTrue(s.PerDeviceNodeSelection), devices.Index(i))...)
		errs = append(errs, distinctFrom(seen, s.Devices[i].Name, devices.Index(i).Child("name"))...)
	}
	for i := range s.SharedCounters {
		at := spec.Child("sharedCounters").Index(i).Child("counters")
		errs = append(errs, tooMany(len(s.SharedCounters[i].Counters), resourcev1.ResourceSliceMaxCountersPerCounterSet, at)...)
	}
	return errs
}

// devicesMax is lower for devices that take more work to allocate.
func devicesMax(list []resourcev1.Device) int {
	if slices.ContainsFunc(list, func(d resourcev1.Device) bool { return len(d.Taints) > 0 || len(d.ConsumesCounters) > 0 }) {
		return resourcev1.ResourceSliceMaxDevicesWithAdvancedFeatures
	}
	return resourcev1.ResourceSliceMaxDevices
}

func validatePool(p *resourcev1.ResourcePool, path *field.Path) field.ErrorList {
	errs := validatePoolName(p.Name, path.Child("name"))
	if p.ResourceSliceCount <= 0 {
		errs = append(errs, field.Invalid(path.Child("resourceSliceCount"), p.ResourceSliceCount, "must be greater than zero"))
	}
	if p.Generation < 0 {
		errs = append(errs, field.Invalid(path.Child("generation"), p.Generation, "must be greater than or equal to zero"))
	}
	return errs
}

// nodeChoice checks the fields of which one says where devices are, and gathers which of them are set.
type nodeChoice struct {
	path *field.Path
	set  []string
	errs field.ErrorList
}

func (c *nodeChoice) name(n *string) {
	path := c.path.Child("nodeName")
	switch {
	case n == nil:
	case *n == "":
		c.errs = append(c.errs, field.Invalid(path, *n, "must be either unset or set to a non-empty string"))
	default:
		c.set = append(c.set, "`nodeName`")
		c.errs = append(c.errs, faults(path, *n, utilvalidation.IsDNS1123Subdomain(*n))...)
	}
}

// selector wants one term, as selectors of several devices are merged.
func (c *nodeChoice) selector(s *corev1.NodeSelector) {
	if s == nil {
		return
	}
	path := c.path.Child("nodeSelector")
	c.set = append(c.set, "`nodeSelector`")
	c.errs = append(c.errs, validateNodeSelector(s, path)...)
	if len(s.NodeSelectorTerms) != 1 {
		c.errs = append(c.errs, field.Invalid(path.Child("nodeSelectorTerms"), s.NodeSelectorTerms, "must have exactly one node selector term"))
	}
}

func (c *nodeChoice) flag(name string, v *bool) {
	switch {
	case v == nil:
	case *v:
		c.set = append(c.set, "`"+name+"`")
	default:
		c.errs = append(c.errs, field.Invalid(c.path.Child(name), *v, "must be either unset or set to true"))
	}
}

func (c *nodeChoice) exactlyOne(rule, several string) field.ErrorList {
	switch len(c.set) {
	case 0:
		return append(c.errs, field.Required(c.path, rule))
	case 1:
		return c.errs
	}
	return append(c.errs, field.Invalid(c.path, "{"+strings.Join(c.set, ", ")+"}", rule+several))
}

func validateDevice(d *resourcev1.Device, choosesNode bool, path *field.Path) field.ErrorList {
	errs := validateDeviceLabel(d.Name, path.Child("name"))
	for _, name := range sortedKeys(d.Attributes) {
		at, a := path.Child("attributes").Key(string(name)), d.Attributes[name]
		errs = append(errs, validateQualifiedName(name, at)...)
		errs = append(errs, validateDeviceAttribute(&a, at)...)
	}
	for _, name := range sortedKeys(d.Capacity) {
		at, c := path.Child("capacity").Key(string(name)), d.Capacity[name]
		errs = append(errs, validateQualifiedName(name, at)...)
		errs = append(errs, validateDeviceCapacity(&c, isTrue(d.AllowMultipleAllocations), at)...)
	}
	if n := len(d.Attributes) + len(d.Capacity); n > resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice {
		errs = append(errs, field.Invalid(path, n,
			fmt.Sprintf("the total number of attributes and capacities must not exceed %d", resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice)))
	}
	for i := range d.ConsumesCounters {
		at := path.Child("consumesCounters").Index(i).Child("counters")
		errs = append(errs, tooMany(len(d.ConsumesCounters[i].Counters), resourcev1.ResourceSliceMaxCountersPerDeviceCounterConsumption, at)...)
	}
	for i := range d.Taints {
		errs = append(errs, validateDeviceTaint(&d.Taints[i], path.Child("taints").Index(i))...)
	}
	errs = append(errs, tooMany(len(d.Taints), resourcev1.DeviceTaintsMaxLength, path.Child("taints"))...)
	errs = append(errs, validateBindingConditions(d.BindingConditions, d.BindingFailureConditions, path)...)
	return append(errs, validateDeviceNodes(d, choosesNode, path)...)
}

// validateDeviceNodes: a device says where it is if, and only if, its slice leaves that to the devices.
func validateDeviceNodes(d *resourcev1.Device, choosesNode bool, path *field.Path) (errs field.ErrorList) {
	const rule = "`nodeName`, `nodeSelector`, or `allNodes`"
	where := nodeChoice{path: path}
	where.name(d.NodeName)
	where.selector(d.NodeSelector)
	where.flag("allNodes", d.AllNodes)
	if choosesNode {
		return where.exactlyOne("exactly one of "+rule+" is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec", "")
	}
	forbid := func(name string, set bool) {
		if set {
			errs = append(errs, field.Forbidden(path.Child(name), "may only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec"))
		}
	}
	forbid("nodeName", d.NodeName != nil)
	forbid("nodeSelector", d.NodeSelector != nil)
	forbid("allNodes", d.AllNodes != nil)
	return errs
}

// semanticVersion is the pattern that semver.org gives for versions of its 2.0.0.
var semanticVersion = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)` +
	`(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$`)

func validateDeviceAttribute(a *resourcev1.DeviceAttribute, path *field.Path) (errs field.ErrorList) {
	long := func(name string, v *string) {
		if len(valueOf(v)) > resourcev1.DeviceAttributeMaxValueLength {
			errs = append(errs, field.TooLong(path.Child(name), *v, resourcev1.DeviceAttributeMaxValueLength))
		}
	}
	long("string", a.StringValue)
	long("version", a.VersionValue)
	if v := a.VersionValue; v != nil && !semanticVersion.MatchString(*v) {
		errs = append(errs, field.Invalid(path.Child("version"), *v, "must be a string compatible with semver.org spec 2.0.0"))
	}
	return errs
}

// validateDeviceCapacity: how a capacity is shared out matters only for a device that can be shared.
func validateDeviceCapacity(c *resourcev1.DeviceCapacity, shared bool, path *field.Path) field.ErrorList {
	p, policy := c.RequestPolicy, path.Child("requestPolicy")
	switch {
	case p == nil:
		return nil
	case !shared:
		return field.ErrorList{field.Forbidden(policy, "allowMultipleAllocations must be true")}
	case len(p.ValidValues) > 0 && p.ValidRange != nil:
		return field.ErrorList{field.Forbidden(policy,
			"exactly one policy can be specified, cannot specify `validValues` and `validRange` at the same time")}
	case p.Default == nil && (len(p.ValidValues) > 0 || p.ValidRange != nil):
		return field.ErrorList{field.Required(policy.Child("default"), "required when `validValues` or `validRange` is defined")}
	}
	errs := notAbove(p.Default, &c.Value, "capacity value", policy.Child("default"))
	if len(p.ValidValues) > 0 {
		errs = append(errs, validateValues(p, &c.Value, policy)...)
	}
	if p.ValidRange != nil {
		errs = append(errs, validateRange(p.ValidRange, p.Default, &c.Value, policy)...)
	}
	return errs
}

// notAbove compares two quantities of which either may be absent.
func notAbove(q, most *resource.Quantity, what string, path *field.Path) field.ErrorList {
	if q == nil || most == nil || q.Cmp(*most) <= 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, q.String(), fmt.Sprintf("must not be larger than %s: %s", what, most.String()))}
}

func validateValues(p *resourcev1.CapacityRequestPolicy, capacity *resource.Quantity, policy *field.Path) field.ErrorList {
	path := policy.Child("validValues")
	errs := tooMany(len(p.ValidValues), requestPolicyValuesMax, path)
	for i := range p.ValidValues {
		v, at := &p.ValidValues[i], path.Index(i)
		errs = append(errs, notAbove(v, capacity, "capacity value", at)...)
		if i == 0 {
			continue
		}
		switch v.Cmp(p.ValidValues[i-1]) {
		case 0:
			errs = append(errs, field.Duplicate(at, v.String()))
		case -1:
			errs = append(errs, field.Invalid(at, v.String(), "values must be sorted in ascending order"))
		}
	}
	if !slices.ContainsFunc(p.ValidValues, func(v resource.Quantity) bool { return v.Cmp(*p.Default) == 0 }) {
		errs = append(errs, field.Invalid(policy.Child("default"), p.Default.String(), "default value is not valid according to the requestPolicy"))
	}
	return errs
}

// validateRange checks min <= default <= max <= capacity, all of them whole steps from min.
func validateRange(r *resourcev1.CapacityRequestPolicyRange, byDefault, capacity *resource.Quantity, policy *field.Path) field.ErrorList {
	path := policy.Child("validRange")
	least := path.Child("min")
	if r.Min == nil {
		return field.ErrorList{field.Required(least, "")}
	}
	errs := notAbove(r.Min, capacity, "capacity value", least)
	if r.Min.Sign() < 0 {
		errs = append(errs, field.Invalid(least, r.Min.String(), "must be greater than or equal to zero"))
	}
	errs = append(errs, notAbove(r.Min, byDefault, "default", least)...)
	errs = append(errs, notAbove(r.Min, r.Max, "max", least)...)
	errs = append(errs, notAbove(r.Max, capacity, "capacity value", path.Child("max"))...)
	errs = append(errs, notAbove(byDefault, r.Max, "max", policy.Child("default"))...)
	if r.Step == nil {
		return errs
	}
	step := path.Child("step")
	if r.Step.Sign() <= 0 {
		return append(errs, field.Invalid(step, r.Step.String(), "must be greater than zero"))
	}
	second := r.Min.DeepCopy()
	second.Add(*r.Step)
	if second.Cmp(*capacity) > 0 {
		errs = append(errs, field.Invalid(step, r.Step.String(),
			fmt.Sprintf("one step %s is larger than capacity value: %s", second.String(), capacity.String())))
	}
	errs = append(errs, wholeSteps(r.Max, r, path.Child("max"))...)
	return append(errs, wholeSteps(byDefault, r, policy.Child("default"))...)
}

// wholeSteps counts in thousandths if anything of the range is a fraction.
func wholeSteps(q *resource.Quantity, r *resourcev1.CapacityRequestPolicyRange, path *field.Path) field.ErrorList {
	if q == nil {
		return nil
	}
	number := (*resource.Quantity).Value
	if slices.ContainsFunc([]*resource.Quantity{r.Min, r.Max, r.Step}, fractional) {
		number = (*resource.Quantity).MilliValue
	}
	if step := number(r.Step); step > 0 && (number(q)-number(r.Min))%step == 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, q.String(),
		fmt.Sprintf("value is not a multiple of a given step (%s) from (%s)", r.Step.String(), r.Min.String()))}
}

func fractional(q *resource.Quantity) bool {
	return q != nil && q.Cmp(*resource.NewQuantity(q.Value(), q.Format)) != 0
}
