package api

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

var protocols = sets.New(corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)

// oneOf reports a value that is not of a set; requiredOneOf also one that is absent.
func oneOf[T ~string](v T, path *field.Path, allowed ...T) field.ErrorList {
	if slices.Contains(allowed, v) {
		return nil
	}
	slices.Sort(allowed)
	return field.ErrorList{field.NotSupported(path, v, allowed)}
}

func requiredOneOf[T ~string](v T, path *field.Path, allowed ...T) field.ErrorList {
	if v == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return oneOf(v, path, allowed...)
}

// faults makes one Invalid of every message.
func faults(path *field.Path, v any, msgs []string) (errs field.ErrorList) {
	for _, m := range msgs {
		errs = append(errs, field.Invalid(path, v, m))
	}
	return errs
}

func validateService(svc *corev1.Service) (errs field.ErrorList) {
	s, spec := &svc.Spec, field.NewPath("spec")
	errs = append(errs, validateServiceType(s, spec)...)
	errs = append(errs, validateServicePorts(s, spec.Child("ports"))...)
	errs = append(errs, metavalidation.ValidateLabels(s.Selector, spec.Child("selector"))...)
	errs = append(errs, validateAffinity(s, spec)...)
	for i, ip := range s.ExternalIPs {
		errs = append(errs, validateOuterIP(ip, spec.Child("externalIPs").Index(i))...)
	}
	errs = append(errs, validateTrafficPolicies(s, spec)...)
	errs = append(errs, validateLoadBalancer(s, spec)...)
	errs = append(errs, validateSourceRangesAnnotation(svc)...)
	errs = append(errs, validateKeepSource(svc)...)
	return append(errs, validateClusterIPs(s, spec)...)
}

func validateServiceType(s *corev1.ServiceSpec, spec *field.Path) (errs field.ErrorList) {
	if len(s.Ports) == 0 && !headless(s) && s.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(spec.Child("ports"), ""))
	}
	none := spec.Child("clusterIPs").Index(0)
	switch s.Type {
	case corev1.ServiceTypeLoadBalancer:
		for i := range s.Ports {
			if s.Ports[i].Port == 10250 {
				errs = append(errs, field.Invalid(spec.Child("ports").Index(i), s.Ports[i].Port, "may not expose port 10250 externally since it is used by kubelet"))
			}
		}
		if headless(s) {
			errs = append(errs, field.Invalid(none, corev1.ClusterIPNone, "may not be set to 'None' for LoadBalancer services"))
		}
	case corev1.ServiceTypeNodePort:
		if headless(s) {
			errs = append(errs, field.Invalid(none, corev1.ClusterIPNone, "may not be set to 'None' for NodePort services"))
		}
	case corev1.ServiceTypeExternalName:
		if s.ClusterIP != "" || len(s.ClusterIPs) > 0 {
			errs = append(errs, field.Forbidden(spec.Child("clusterIPs"), "may not be set when `type` is 'ExternalName'"))
		}
		if len(s.IPFamilies) > 0 {
			errs = append(errs, field.Forbidden(spec.Child("ipFamilies"), "may not be set when `type` is 'ExternalName'"))
		}
		if s.IPFamilyPolicy != nil {
			errs = append(errs, field.Forbidden(spec.Child("ipFamilyPolicy"), "may not be set when `type` is 'ExternalName'"))
		}
		if name := strings.TrimSuffix(s.ExternalName, "."); name == "" {
			errs = append(errs, field.Required(spec.Child("externalName"), ""))
		} else {
			errs = append(errs, faults(spec.Child("externalName"), name, validation.IsDNS1123Subdomain(name))...)
		}
	}
	return append(errs, requiredOneOf(s.Type, spec.Child("type"), corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort,
		corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName)...)
}

func validateServicePorts(s *corev1.ServiceSpec, ports *field.Path) (errs field.ErrorList) {
	type key struct {
		protocol corev1.Protocol
		port     int32
	}
	names, seen, nodePorts := sets.New[string](), sets.New[key](), sets.New[key]()
	for i := range s.Ports {
		p, path := &s.Ports[i], ports.Index(i)
		errs = append(errs, validateServicePort(p, path, len(s.Ports) > 1)...)
		if p.Name != "" && names.Has(p.Name) {
			errs = append(errs, field.Duplicate(path.Child("name"), p.Name))
		}
		names.Insert(p.Name)
		if k := (key{p.Protocol, p.Port}); seen.Has(k) {
			errs = append(errs, field.Duplicate(path, corev1.ServicePort{Protocol: p.Protocol, Port: p.Port}))
		} else {
			seen.Insert(k)
		}
		if p.NodePort == 0 {
			continue
		}
		errs = append(errs, faults(path.Child("nodePort"), p.NodePort, validation.IsValidPortNum(int(p.NodePort)))...)
		if !hasNodePorts(s.Type) {
			errs = append(errs, field.Forbidden(path.Child("nodePort"), fmt.Sprintf("may not be used when `type` is '%s'", s.Type)))
		}
		if k := (key{p.Protocol, p.NodePort}); nodePorts.Has(k) {
			errs = append(errs, field.Duplicate(path.Child("nodePort"), p.NodePort))
		} else {
			nodePorts.Insert(k)
		}
	}
	return errs
}

func validateServicePort(p *corev1.ServicePort, path *field.Path, named bool) (errs field.ErrorList) {
	switch {
	case p.Name != "":
		errs = append(errs, faults(path.Child("name"), p.Name, validation.IsDNS1123Label(p.Name))...)
	case named:
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	errs = append(errs, faults(path.Child("port"), p.Port, validation.IsValidPortNum(int(p.Port)))...)
	errs = append(errs, requiredOneOf(p.Protocol, path.Child("protocol"), sets.List(protocols)...)...)
	errs = append(errs, validatePortRef(p.TargetPort, path.Child("targetPort"))...)
	if p.AppProtocol != nil {
		errs = append(errs, faults(path.Child("appProtocol"), *p.AppProtocol, validation.IsQualifiedName(*p.AppProtocol))...)
	}
	return errs
}

// validatePortRef checks a number or the name of a container's port.
func validatePortRef(p intstr.IntOrString, path *field.Path) field.ErrorList {
	if p.Type == intstr.Int {
		return faults(path, p.IntValue(), validation.IsValidPortNum(p.IntValue()))
	}
	return faults(path, p.StrVal, validation.IsValidPortName(p.StrVal))
}

func validateAffinity(s *corev1.ServiceSpec, spec *field.Path) field.ErrorList {
	errs := requiredOneOf(s.SessionAffinity, spec.Child("sessionAffinity"), corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)
	config := spec.Child("sessionAffinityConfig")
	switch {
	case s.SessionAffinity == corev1.ServiceAffinityNone && s.SessionAffinityConfig != nil:
		errs = append(errs, field.Forbidden(config, "must not be set when session affinity is None"))
	case s.SessionAffinity == corev1.ServiceAffinityClientIP:
		timeout := config.Child("clientIP", "timeoutSeconds")
		if s.SessionAffinityConfig == nil || s.SessionAffinityConfig.ClientIP == nil || s.SessionAffinityConfig.ClientIP.TimeoutSeconds == nil {
			errs = append(errs, field.Required(config, "when session affinity type is ClientIP"))
		} else if n := *s.SessionAffinityConfig.ClientIP.TimeoutSeconds; n <= 0 || n > sessionAffinitySecondsMax {
			errs = append(errs, field.Invalid(timeout, n, fmt.Sprintf("must be greater than 0 and less than %d", sessionAffinitySecondsMax)))
		}
	}
	return errs
}

func validateTrafficPolicies(s *corev1.ServiceSpec, spec *field.Path) (errs field.ErrorList) {
	external := spec.Child("externalTrafficPolicy")
	switch {
	case !externallyReachable(s):
		if s.ExternalTrafficPolicy != "" {
			errs = append(errs, field.Invalid(external, s.ExternalTrafficPolicy, "may only be set for externally-accessible services"))
		}
	default:
		errs = append(errs, requiredOneOf(s.ExternalTrafficPolicy, external,
			corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)...)
	}
	if p := s.InternalTrafficPolicy; p != nil {
		errs = append(errs, oneOf(*p, spec.Child("internalTrafficPolicy"),
			corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)...)
	} else if s.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(spec.Child("internalTrafficPolicy"), ""))
	}
	if p := s.TrafficDistribution; p != nil {
		errs = append(errs, requiredInOrder(*p, spec.Child("trafficDistribution"), corev1.ServiceTrafficDistributionPreferClose,
			corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode)...)
	}
	port := spec.Child("healthCheckNodePort")
	switch {
	case s.HealthCheckNodePort == 0:
	case !needsHealthCheckPort(s):
		errs = append(errs, field.Invalid(port, s.HealthCheckNodePort, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"))
	default:
		errs = append(errs, faults(port, s.HealthCheckNodePort, validation.IsValidPortNum(int(s.HealthCheckNodePort)))...)
	}
	return errs
}

func validateLoadBalancer(s *corev1.ServiceSpec, spec *field.Path) (errs field.ErrorList) {
	balanced := s.Type == corev1.ServiceTypeLoadBalancer
	const only = "may only be used when `type` is 'LoadBalancer'"
	if len(s.LoadBalancerSourceRanges) > 0 && !balanced {
		errs = append(errs, field.Forbidden(spec.Child("LoadBalancerSourceRanges"), only))
	}
	for i, cidr := range s.LoadBalancerSourceRanges {
		errs = append(errs, validateCIDR(spec.Child("LoadBalancerSourceRanges").Index(i), strings.TrimSpace(cidr))...)
	}
	allocate := spec.Child("allocateLoadBalancerNodePorts")
	switch {
	case balanced && s.AllocateLoadBalancerNodePorts == nil:
		errs = append(errs, field.Required(allocate, ""))
	case !balanced && s.AllocateLoadBalancerNodePorts != nil:
		errs = append(errs, field.Forbidden(allocate, only))
	}
	if c := s.LoadBalancerClass; c != nil {
		path := spec.Child("loadBalancerClass")
		if !balanced {
			errs = append(errs, field.Forbidden(path, only))
		}
		errs = append(errs, faults(path, *c, validation.IsQualifiedName(*c))...)
	}
	return errs
}

// validateSourceRangesAnnotation checks the old form of loadBalancerSourceRanges, which counts where the field is empty.
func validateSourceRangesAnnotation(svc *corev1.Service) (errs field.ErrorList) {
	text, ok := svc.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey]
	if !ok || len(svc.Spec.LoadBalancerSourceRanges) > 0 {
		return nil
	}
	path := field.NewPath("metadata", "annotations").Key(corev1.AnnotationLoadBalancerSourceRangesKey)
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		errs = append(errs, field.Forbidden(path, "may only be used when `type` is 'LoadBalancer'"))
	}
	if text = strings.TrimSpace(text); text == "" {
		return errs
	}
	for _, cidr := range strings.Split(text, ",") {
		if len(validateCIDR(path, strings.TrimSpace(cidr))) > 0 {
			return append(errs, field.Invalid(path, text, "must be a list of IP ranges. For example, 10.240.0.0/24,10.250.0.0/24").WithOrigin(addressOrigin))
		}
	}
	return errs
}

// validateClusterIPs: at most one address of each family, in the order of the families, and clusterIP is the first.
// validateKeepSource refuses what cannot work: an endpoint on another node than the one that a client outside the cluster asks would answer
// that client directly, by a way that the client's connection does not take.
func validateKeepSource(svc *corev1.Service) field.ErrorList {
	path := field.NewPath("metadata", "annotations").Key(KeepSourceAnnotation)
	value, given := svc.Annotations[KeepSourceAnnotation]
	outside := svc.Spec.Type == corev1.ServiceTypeNodePort || svc.Spec.Type == corev1.ServiceTypeLoadBalancer || len(svc.Spec.ExternalIPs) > 0
	switch {
	case !given || value == "false":
		return nil
	case value != "true":
		return field.ErrorList{field.NotSupported(path, value, []string{"true", "false"})}
	case svc.Spec.Type == corev1.ServiceTypeExternalName || headless(&svc.Spec):
		return field.ErrorList{field.Invalid(path, value, "connections to this service do not pass a proxy: its endpoints see their clients anyway")}
	case outside && svc.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal:
		return field.ErrorList{field.Invalid(path, value, "the addresses of clients outside the cluster can only be kept with spec.externalTrafficPolicy: Local, since an endpoint on another node would answer them directly; `peapod.sh/proxy-protocol: v2` has no such limit")}
	}
	return nil
}

func validateClusterIPs(s *corev1.ServiceSpec, spec *field.Path) (errs field.ErrorList) {
	if s.Type == corev1.ServiceTypeExternalName {
		return nil // such a service has none of this, which validateServiceType has checked
	}
	path := spec.Child("clusterIPs")
	switch {
	case s.ClusterIP == "" && len(s.ClusterIPs) > 0:
		errs = append(errs, field.Invalid(path, s.ClusterIPs, "must be empty when `clusterIP` is not specified"))
	case s.ClusterIP != "" && len(s.ClusterIPs) == 0:
		errs = append(errs, field.Required(path, ""))
	case len(s.ClusterIPs) > 0 && s.ClusterIPs[0] != s.ClusterIP:
		errs = append(errs, field.Invalid(path, s.ClusterIPs, "first value must match `clusterIP`"))
	}
	errs = append(errs, validateFamilies(s, spec)...)
	faulty := validateAddresses(s.ClusterIPs, path)
	if errs = append(errs, faulty...); len(faulty) > 0 {
		return errs
	}
	if len(s.ClusterIPs) > 1 && ipv6(s.ClusterIPs[0]) == ipv6(s.ClusterIPs[1]) {
		errs = append(errs, field.Invalid(path, s.ClusterIPs, "may specify no more than one IP for each IP family"))
	}
	if headless(s) {
		return errs
	}
	for i := range min(len(s.ClusterIPs), len(s.IPFamilies)) {
		if f := s.IPFamilies[i]; (f == corev1.IPv6Protocol) != ipv6(s.ClusterIPs[i]) && (f == corev1.IPv4Protocol || f == corev1.IPv6Protocol) {
			errs = append(errs, field.Invalid(path.Index(i), s.ClusterIPs[i], fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%v]`", f, i)))
		}
	}
	return errs
}

func ipv6(ip string) bool { return strings.Contains(ip, ":") }

func validateFamilies(s *corev1.ServiceSpec, spec *field.Path) (errs field.ErrorList) {
	for i, f := range s.IPFamilies {
		errs = append(errs, oneOf(f, spec.Child("ipFamilies").Index(i), corev1.IPv4Protocol, corev1.IPv6Protocol)...)
		if slices.Contains(s.IPFamilies[:i], f) {
			errs = append(errs, field.Duplicate(spec.Child("ipFamilies").Index(i), f))
		}
	}
	if p := s.IPFamilyPolicy; p != nil {
		errs = append(errs, oneOf(*p, spec.Child("ipFamilyPolicy"), corev1.IPFamilyPolicySingleStack,
			corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack)...)
	}
	return errs
}

// validateAddresses checks each address by itself. None stands alone.
func validateAddresses(ips []string, path *field.Path) (errs field.ErrorList) {
	for i, ip := range ips {
		if i > 0 || ip != corev1.ClusterIPNone {
			errs = append(errs, validateIP(path.Index(i), ip)...)
		} else if len(ips) > 1 {
			errs = append(errs, field.Invalid(path, ips, "'None' must be the first and only value"))
		}
	}
	if len(ips) > serviceAddressesMax {
		errs = append(errs, field.Invalid(path, ips, fmt.Sprintf("may only hold up to %d values", serviceAddressesMax)))
	}
	return errs
}

// serviceAddressesMax is one address of each family.
const serviceAddressesMax = 2

// validateServiceUpdate also guards the address: others may have cached or routed it. A second one can come and go.
func validateServiceUpdate(svc, old *corev1.Service) (errs field.ErrorList) {
	s, o := &svc.Spec, &old.Spec
	spec := field.NewPath("spec")
	if s.Type != corev1.ServiceTypeExternalName && o.Type != corev1.ServiceTypeExternalName {
		if !headless(s) || !headless(o) {
			errs = append(errs, validateUpgrade(s.ClusterIPs, o.ClusterIPs, s, "clusterIP", spec)...)
		}
		if !headless(s) && !headless(o) {
			errs = append(errs, validateUpgrade(s.IPFamilies, o.IPFamilies, s, "ipFamily", spec)...)
		}
	}
	if o.Type == corev1.ServiceTypeLoadBalancer && s.Type == o.Type && valueOf(s.LoadBalancerClass) != valueOf(o.LoadBalancerClass) {
		errs = append(errs, field.Invalid(spec.Child("loadBalancerClass"), s.LoadBalancerClass, "may not change once set"))
	}
	return append(errs, validateService(svc)...)
}

// validateUpgrade lets the second of two values come, and go if the service says that it wants one family only.
func validateUpgrade[T ~string](now, before []T, s *corev1.ServiceSpec, what string, spec *field.Path) (errs field.ErrorList) {
	path := spec.Child(map[string]string{"clusterIP": "clusterIPs", "ipFamily": "ipFamilies"}[what])
	for i := range min(len(now), len(before)) {
		if now[i] != before[i] {
			errs = append(errs, field.Invalid(path.Index(i), now, "may not change once set"))
		}
	}
	switch {
	case len(before) > 0 && len(now) == 0:
		errs = append(errs, field.Invalid(path.Index(0), now, "primary "+what+" can not be unset"))
	case len(now) == 1 && len(before) > 1 && valueOf(s.IPFamilyPolicy) != corev1.IPFamilyPolicySingleStack:
		errs = append(errs, field.Invalid(spec.Child("ipFamilyPolicy"), s.IPFamilyPolicy, "must be set to 'SingleStack' when releasing the secondary "+what))
	}
	return errs
}

// validateServiceStatus checks where a load balancer says it can be reached.
func validateServiceStatus(svc, _ *corev1.Service) (errs field.ErrorList) {
	path, list := field.NewPath("status", "loadBalancer", "ingress"), svc.Status.LoadBalancer.Ingress
	if len(list) > 0 && svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return field.ErrorList{field.Forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")}
	}
	for i := range list {
		errs = append(errs, validateLoadBalancerIngress(&list[i], path.Index(i))...)
	}
	return errs
}

func validateLoadBalancerIngress(in *corev1.LoadBalancerIngress, path *field.Path) (errs field.ErrorList) {
	mode := path.Child("ipMode")
	if in.IP != "" {
		errs = append(errs, validateIP(path.Child("ip"), in.IP)...)
	}
	switch {
	case in.IPMode == nil && in.IP != "":
		errs = append(errs, field.Required(mode, "must be specified when `ip` is set"))
	case in.IPMode != nil && in.IP == "":
		errs = append(errs, field.Forbidden(mode, "may not be specified when `ip` is not set"))
	case in.IPMode != nil:
		errs = append(errs, oneOf(*in.IPMode, mode, corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP)...)
	}
	if h := in.Hostname; h != "" {
		errs = append(errs, faults(path.Child("hostname"), h, validation.IsDNS1123Subdomain(h))...)
		if netutils.ParseIPSloppy(h) != nil {
			errs = append(errs, field.Invalid(path.Child("hostname"), h, "must be a DNS name, not an IP address"))
		}
	}
	return errs
}
