package kube

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func familyOf(a netip.Addr) corev1.IPFamily {
	if a.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// other is the other family.
func other(f corev1.IPFamily) corev1.IPFamily {
	if f == corev1.IPv6Protocol {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

func dual(s *corev1.Service) bool {
	p := s.Spec.IPFamilyPolicy
	return p != nil && *p != corev1.IPFamilyPolicySingleStack
}

// settleFamilies adds the second family to a service that wants or may have two, and takes it from one that has come to want one only.
// What a user has said of addresses and families decides which is the first.
func (a *allocator) settleFamilies(s *corev1.Service, exists bool) {
	spec := &s.Spec
	switch {
	case dual(s) && a.cidr6.IsValid() && len(spec.IPFamilies) == 1:
		spec.IPFamilies = append(spec.IPFamilies, other(spec.IPFamilies[0]))
	case exists && !dual(s) && len(spec.IPFamilies) == 2:
		spec.IPFamilies = spec.IPFamilies[:1]
		if len(spec.ClusterIPs) == 2 {
			spec.ClusterIPs = spec.ClusterIPs[:1]
		}
	}
}

// fillAddresses gives a service an address of each of its families that it has none of.
func (a *allocator) fillAddresses(s *corev1.Service, u inUse) {
	spec := &s.Spec
	if spec.ClusterIP == corev1.ClusterIPNone {
		return
	}
	for i, f := range spec.IPFamilies {
		if len(spec.ClusterIPs) > i {
			continue
		}
		ip := a.address(s, f, u)
		if ip == "" {
			break
		}
		u.addresses[ip] = true
		spec.ClusterIPs = append(spec.ClusterIPs, ip)
	}
	if len(spec.ClusterIPs) > 0 {
		spec.ClusterIP = spec.ClusterIPs[0]
	}
}

// familyFaults reports families that the cluster does not have, in the words of the official API server.
func (a *allocator) familyFaults(s *corev1.Service, spec *field.Path) (errs field.ErrorList) {
	p := s.Spec.IPFamilyPolicy
	if !dual(s) && len(s.Spec.IPFamilies) > 1 {
		errs = append(errs, field.Invalid(spec.Child("ipFamilyPolicy"), p, "must be RequireDualStack or PreferDualStack when multiple 'ipFamilies' are specified"))
	}
	if a.cidr6.IsValid() {
		return errs
	}
	if p != nil && *p == corev1.IPFamilyPolicyRequireDualStack {
		errs = append(errs, field.Invalid(spec.Child("ipFamilyPolicy"), *p, "this cluster is not configured for dual-stack services"))
	}
	for i, f := range s.Spec.IPFamilies {
		if f == corev1.IPv6Protocol {
			errs = append(errs, field.Invalid(spec.Child("ipFamilies").Index(i), f, "not configured on this cluster"))
		}
	}
	return errs
}

// dnsFault refuses the address at which nodes answer for the cluster's DNS: whoever had it could be asked for every name. The service that stands for
// DNS elsewhere may have it, since programs look for one there.
func (a *allocator) dnsFault(s *corev1.Service, ip string, path *field.Path) field.ErrorList {
	addr, err := netip.ParseAddr(ip)
	if err != nil || !a.isDNS(addr) || s.Namespace+"/"+s.Name == dnsService {
		return nil
	}
	return field.ErrorList{field.Invalid(path, []string{ip}, fmt.Sprintf("failed to allocate IP %s: the nodes answer there for the cluster's DNS; only service %s may have it", ip, dnsService))}
}

// addressFaults reports addresses that the service has not had before and cannot have.
func (a *allocator) addressFaults(s, old *corev1.Service, u inUse, path *field.Path) (errs field.ErrorList) {
	if s.Spec.ClusterIP == "" {
		return a.addressFault("", u, path)
	}
	for _, ip := range s.Spec.ClusterIPs {
		if old == nil || !slices.Contains(old.Spec.ClusterIPs, ip) {
			errs = append(errs, a.addressFault(ip, u, path)...)
			errs = append(errs, a.dnsFault(s, ip, path)...)
		}
	}
	return errs
}
