package api

import (
	"net/netip"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateNetworkPolicy(p *networkingv1.NetworkPolicy) field.ErrorList {
	s, spec := &p.Spec, field.NewPath("spec")
	errs := validateSelector(&s.PodSelector, spec.Child("podSelector"))
	for i := range s.Ingress {
		errs = append(errs, validatePolicyPorts(s.Ingress[i].Ports, spec.Child("ingress").Index(i).Child("ports"))...)
	}
	for i := range s.Egress {
		errs = append(errs, validatePolicyPorts(s.Egress[i].Ports, spec.Child("egress").Index(i).Child("ports"))...)
	}
	forEachPeer(s, spec, func(peer *networkingv1.NetworkPolicyPeer, path *field.Path) {
		errs = append(errs, validatePeer(peer, path)...)
	})
	return append(errs, validatePolicyTypes(s.PolicyTypes, spec.Child("policyTypes"))...)
}

func validatePolicyTypes(types []networkingv1.PolicyType, path *field.Path) (errs field.ErrorList) {
	if len(types) > policyTypesMax {
		return field.ErrorList{field.Invalid(path, types, "may not specify more than two policyTypes")}
	}
	for i, t := range types {
		errs = append(errs, oneOf(t, path.Index(i), networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress)...)
	}
	return errs
}

func validatePolicyPorts(ports []networkingv1.NetworkPolicyPort, path *field.Path) (errs field.ErrorList) {
	for i := range ports {
		p, at := &ports[i], path.Index(i)
		if p.Protocol != nil {
			errs = append(errs, oneOf(*p.Protocol, at.Child("protocol"), sets.List(protocols)...)...)
		}
		if p.Port != nil {
			errs = append(errs, validatePortRef(*p.Port, at.Child("port"))...)
		}
		if p.EndPort != nil {
			errs = append(errs, validateEndPort(p.Port, *p.EndPort, at.Child("endPort"))...)
		}
	}
	return errs
}

// validateEndPort: only numbers have an order, so only a number begins a range.
func validateEndPort(port *intstr.IntOrString, end int32, path *field.Path) (errs field.ErrorList) {
	switch {
	case port == nil:
		return field.ErrorList{field.Invalid(path, end, "may not be specified when `port` is not specified")}
	case port.Type != intstr.Int:
		return field.ErrorList{field.Invalid(path, end, "may not be specified when `port` is non-numeric")}
	case end < port.IntVal:
		// The value is that of the port, as in Kubernetes.
		errs = append(errs, field.Invalid(path, port.IntVal, "must be greater than or equal to `port`"))
	}
	return append(errs, faults(path, end, utilvalidation.IsValidPortNum(int(end)))...)
}

func validatePeer(p *networkingv1.NetworkPolicyPeer, path *field.Path) field.ErrorList {
	if p.PodSelector == nil && p.NamespaceSelector == nil && p.IPBlock == nil {
		return field.ErrorList{field.Required(path, "must specify a peer")}
	}
	errs := validateSelector(p.PodSelector, path.Child("podSelector"))
	errs = append(errs, validateSelector(p.NamespaceSelector, path.Child("namespaceSelector"))...)
	if p.IPBlock == nil {
		return errs
	}
	errs = append(errs, validateIPBlock(p.IPBlock, path.Child("ipBlock"))...)
	if p.PodSelector != nil || p.NamespaceSelector != nil {
		errs = append(errs, field.Forbidden(path, "may not specify both ipBlock and another peer"))
	}
	return errs
}

func validateIPBlock(b *networkingv1.IPBlock, path *field.Path) field.ErrorList {
	cidr := path.Child("cidr")
	if b.CIDR == "" {
		return field.ErrorList{field.Required(cidr, "")}
	}
	if errs := validateCIDR(cidr, b.CIDR); len(errs) > 0 {
		return errs
	}
	outer, errs := netip.MustParsePrefix(b.CIDR), field.ErrorList(nil)
	for i, text := range b.Except {
		at := path.Child("except").Index(i)
		if bad := validateCIDR(at, text); len(bad) > 0 {
			errs = append(errs, bad...)
			continue
		}
		if inner := netip.MustParsePrefix(text); !outer.Contains(inner.Addr()) || inner.Bits() <= outer.Bits() {
			errs = append(errs, field.Invalid(at, text, "must be a strict subset of `cidr`"))
		}
	}
	return errs
}
