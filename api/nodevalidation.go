package api

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateNode(n *corev1.Node) field.ErrorList {
	spec := field.NewPath("spec")
	errs := validateTaints(n.Spec.Taints, spec.Child("taints"))
	errs = append(errs, validatePodCIDRs(&n.Spec, spec)...)
	if n.Spec.PodPreemptionPolicy != nil {
		errs = append(errs, field.Forbidden(spec.Child("podPreemptionPolicy"), "needs the feature InPlacePodVerticalScalingSchedulerPreemption, which is alpha"))
	}
	return append(errs, validateNodeStatus(&n.Status, field.NewPath("status"))...)
}

func validateTaints(taints []corev1.Taint, path *field.Path) (errs field.ErrorList) {
	type key struct {
		key    string
		effect corev1.TaintEffect
	}
	var seen []key
	for i, t := range taints {
		at := path.Index(i)
		errs = append(errs, faults(at.Child("key"), t.Key, utilvalidation.IsQualifiedName(t.Key))...)
		errs = append(errs, faults(at.Child("value"), t.Value, utilvalidation.IsValidLabelValue(t.Value))...)
		errs = append(errs, requiredOneOf(t.Effect, at.Child("effect"),
			corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)...)
		if k := (key{t.Key, t.Effect}); slices.Contains(seen, k) {
			twice := field.Duplicate(at, t)
			twice.Detail = "taints must be unique by key and effect pair"
			errs = append(errs, twice)
		} else {
			seen = append(seen, k)
		}
	}
	return errs
}

func validatePodCIDRs(s *corev1.NodeSpec, spec *field.Path) (errs field.ErrorList) {
	path := spec.Child("podCIDRs")
	for i, c := range s.PodCIDRs {
		errs = append(errs, validateCIDR(path.Index(i), c)...)
		if slices.Contains(s.PodCIDRs[:i], c) {
			errs = append(errs, field.Duplicate(path.Index(i), c))
		}
	}
	if len(errs) > 0 || len(s.PodCIDRs) < 2 {
		return errs
	}
	a, errA := netip.ParsePrefix(s.PodCIDRs[0])
	b, errB := netip.ParsePrefix(s.PodCIDRs[1])
	if len(s.PodCIDRs) > 2 || (errA == nil && errB == nil && a.Addr().Is4() == b.Addr().Is4()) {
		errs = append(errs, field.Invalid(path, s.PodCIDRs, "may specify no more than one CIDR for each IP family"))
	}
	return errs
}

func validateNodeStatus(s *corev1.NodeStatus, path *field.Path) (errs field.ErrorList) {
	for _, list := range []struct {
		name string
		of   corev1.ResourceList
	}{{"capacity", s.Capacity}, {"allocatable", s.Allocatable}} {
		for _, name := range sortedKeys(list.of) {
			at := path.Child(list.name).Key(string(name))
			errs = append(errs, validateResourceName(name, at)...)
			errs = append(errs, validateQuantity(name, list.of[name], at)...)
		}
	}
	for i, a := range s.Addresses {
		if slices.Contains(s.Addresses[:i], a) {
			errs = append(errs, field.Duplicate(path.Child("addresses").Index(i), a))
		}
	}
	return errs
}

// validateNodeUpdate: what was once assigned to a node stays with it.
func validateNodeUpdate(n, old *corev1.Node) field.ErrorList {
	errs := validateNode(n)
	spec := field.NewPath("spec")
	if len(old.Spec.PodCIDRs) > 0 && !slices.Equal(n.Spec.PodCIDRs, old.Spec.PodCIDRs) {
		errs = append(errs, field.Forbidden(spec.Child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid"))
	}
	if old.Spec.ProviderID != "" && n.Spec.ProviderID != old.Spec.ProviderID {
		errs = append(errs, field.Forbidden(spec.Child("providerID"), "node updates may not change providerID except from \"\" to valid"))
	}
	if !equality.Semantic.DeepEqual(old.Spec.ConfigSource, n.Spec.ConfigSource) && n.Spec.ConfigSource != nil {
		errs = append(errs, field.Forbidden(spec.Child("configSource"), "configSource may not be set"))
	}
	return errs
}
