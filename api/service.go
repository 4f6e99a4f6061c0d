package api

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: corev1.SchemeGroupVersion,
		Name:         "Service", Resource: "services", Singular: "service",
		ShortNames: []string{"svc"}, Categories: []string{"all"},
		New:                  func() runtime.Object { return &corev1.Service{} },
		NewList:              func() runtime.Object { return &corev1.ServiceList{} },
		Default:              with(defaultService),
		PrepareForCreate:     with(prepareService),
		PrepareForUpdate:     withOld(prepareServiceUpdate),
		Validate:             check(validateService),
		ValidateUpdate:       checkOld(keepAddresses(validateServiceUpdate)),
		ValidateStatusUpdate: checkOld(keepAddresses(validateServiceStatus)),
		ValidateName:         validation.NameIsDNSLabel,
		Warnings:             warnings(func(s *corev1.Service, _ bool) []string { return serviceWarnings(&s.Spec) }),
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			textColumn("Type", "How the service is exposed."),
			textColumn("Cluster-IP", "The service's address inside the cluster."),
			textColumn("External-IP", "The service's addresses outside the cluster."),
			textColumn("Port(s)", "Ports, node ports and protocols."),
			ageColumn,
			wide(textColumn("Selector", "Which pods stand behind the service.")),
		},
		Row:         row(serviceRow),
		FieldLabels: []string{"spec.clusterIP", "spec.type"},
		Fields: selectable(func(s *corev1.Service) fields.Set {
			return fields.Set{"spec.clusterIP": s.Spec.ClusterIP, "spec.type": string(s.Spec.Type)}
		}),
		HasStatus:      true,
		CreateOnUpdate: true,
	})
}

// serviceWarnings tells of what is allowed, and has no effect or another name now.
func serviceWarnings(s *corev1.ServiceSpec) (out []string) {
	ignored := func(set bool, name, where string) {
		if set {
			out = append(out, fmt.Sprintf("spec.%s is ignored %s", name, where))
		}
	}
	if headless(s) {
		ignored(s.LoadBalancerIP != "", "loadBalancerIP", "for headless services")
		ignored(len(s.ExternalIPs) > 0, "externalIPs", "for headless services")
		ignored(s.SessionAffinity != corev1.ServiceAffinityNone, "SessionAffinity", "for headless services")
	}
	if s.Type == corev1.ServiceTypeExternalName {
		ignored(len(s.ExternalIPs) > 0, "externalIPs", `when spec.type is "ExternalName"`)
	}
	if valueOf(s.TrafficDistribution) == corev1.ServiceTrafficDistributionPreferClose {
		out = append(out, "spec.trafficDistribution: PreferClose is deprecated; use PreferSameZone instead")
	}
	return append(out, serviceAddressWarnings(s, field.NewPath("spec"))...)
}

func serviceAddressWarnings(s *corev1.ServiceSpec, spec *field.Path) (out []string) {
	if s.Type != corev1.ServiceTypeExternalName && !headless(s) {
		for i, ip := range s.ClusterIPs {
			out = append(out, ipWarnings(spec.Child("clusterIPs").Index(i), ip)...)
		}
	}
	for i, ip := range s.ExternalIPs {
		out = append(out, ipWarnings(spec.Child("externalIPs").Index(i), ip)...)
	}
	if s.LoadBalancerIP != "" {
		out = append(out, ipWarnings(spec.Child("loadBalancerIP"), s.LoadBalancerIP)...)
	}
	for i, cidr := range s.LoadBalancerSourceRanges {
		out = append(out, cidrWarnings(spec.Child("loadBalancerSourceRanges").Index(i), strings.TrimSpace(cidr))...)
	}
	return out
}

// externallyReachable: traffic from outside the cluster may arrive by node ports or addresses.
func externallyReachable(s *corev1.ServiceSpec) bool {
	switch s.Type {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeClusterIP:
		return len(s.ExternalIPs) > 0
	}
	return false
}

func headless(s *corev1.ServiceSpec) bool {
	return s.ClusterIP == corev1.ClusterIPNone || (len(s.ClusterIPs) == 1 && s.ClusterIPs[0] == corev1.ClusterIPNone)
}

func defaultService(svc *corev1.Service) {
	s := &svc.Spec
	fill(&s.Type, corev1.ServiceTypeClusterIP)
	fill(&s.SessionAffinity, corev1.ServiceAffinityNone)
	defaultAffinity(s)
	for i := range s.Ports {
		p := &s.Ports[i]
		fill(&p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == intstr.FromInt32(0) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	if externallyReachable(s) {
		fill(&s.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	if s.Type != corev1.ServiceTypeExternalName {
		fillPtr(&s.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	}
	if s.Type == corev1.ServiceTypeLoadBalancer {
		fillPtr(&s.AllocateLoadBalancerNodePorts, true)
	}
	for i := range svc.Status.LoadBalancer.Ingress {
		if in := &svc.Status.LoadBalancer.Ingress[i]; in.IP != "" {
			fillPtr(&in.IPMode, corev1.LoadBalancerIPModeVIP)
		}
	}
}

func defaultAffinity(s *corev1.ServiceSpec) {
	if s.SessionAffinity == corev1.ServiceAffinityNone {
		s.SessionAffinityConfig = nil
	}
	if s.SessionAffinity != corev1.ServiceAffinityClientIP {
		return
	}
	fillPtr(&s.SessionAffinityConfig, corev1.SessionAffinityConfig{})
	fillPtr(&s.SessionAffinityConfig.ClientIP, corev1.ClientIPConfig{})
	fillPtr(&s.SessionAffinityConfig.ClientIP.TimeoutSeconds, corev1.DefaultClientIPServiceAffinitySeconds)
}

// prepareService completes what depends on the address that the user gave or that was allocated.
func prepareService(svc *corev1.Service) {
	svc.Status = corev1.ServiceStatus{}
	NormalizeClusterIPs(&svc.Spec, nil)
	defaultFamilies(&svc.Spec)
}

// defaultFamilies: a service is of one family, IPv4, unless it says otherwise.
func defaultFamilies(s *corev1.ServiceSpec) {
	if s.Type == corev1.ServiceTypeExternalName {
		return
	}
	policy := corev1.IPFamilyPolicySingleStack
	if len(s.IPFamilies) > 1 || len(s.ClusterIPs) > 1 {
		policy = corev1.IPFamilyPolicyRequireDualStack
	}
	fillPtr(&s.IPFamilyPolicy, policy)
	if len(s.IPFamilies) > 0 {
		return
	}
	family := corev1.IPv4Protocol
	if strings.Contains(s.ClusterIP, ":") {
		family = corev1.IPv6Protocol
	}
	s.IPFamilies = []corev1.IPFamily{family}
}

// NormalizeClusterIPs keeps clusterIP the first of clusterIPs, also for clients that know only the
// one or only the other; old is nil for a new service. Whoever allocates an address calls it after.
func NormalizeClusterIPs(s, old *corev1.ServiceSpec) {
	if old == nil {
		if s.ClusterIP != "" && len(s.ClusterIPs) == 0 {
			s.ClusterIPs = []string{s.ClusterIP}
		}
		return
	}
	sameList := strings.Join(s.ClusterIPs, ",") == strings.Join(old.ClusterIPs, ",")
	switch {
	case s.ClusterIP == old.ClusterIP || !sameList:
		if s.ClusterIP != "" && len(s.ClusterIPs) == 0 && len(old.ClusterIPs) == 0 {
			s.ClusterIPs = []string{s.ClusterIP}
		}
		if s.ClusterIP == old.ClusterIP && !sameList && len(s.ClusterIPs) == 0 {
			s.ClusterIP = ""
		}
	case s.ClusterIP == "":
		s.ClusterIPs = nil
	default:
		s.ClusterIPs = append([]string{s.ClusterIP}, tail(s.ClusterIPs)...)
	}
}

func tail(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return list[1:]
}

// prepareServiceUpdate lets clients leave out what was allocated (they get to keep it), and drops
// what a changed type no longer has.
func prepareServiceUpdate(svc, oldSvc *corev1.Service) {
	s, old := &svc.Spec, &oldSvc.Spec
	NormalizeClusterIPs(s, old)
	hadAddress, hasAddress := old.Type != corev1.ServiceTypeExternalName, s.Type != corev1.ServiceTypeExternalName
	switch {
	case hadAddress && hasAddress:
		if s.ClusterIP == "" && len(s.ClusterIPs) == 0 {
			s.ClusterIP, s.ClusterIPs = old.ClusterIP, append([]string(nil), old.ClusterIPs...)
		}
		if len(s.IPFamilies) == 0 {
			s.IPFamilies = append([]corev1.IPFamily(nil), old.IPFamilies...)
		}
		if s.IPFamilyPolicy == nil && old.IPFamilyPolicy != nil {
			fillPtr(&s.IPFamilyPolicy, *old.IPFamilyPolicy)
		}
	case hadAddress:
		dropAddress(s, old)
	}
	defaultFamilies(s)
	keepNodePorts(s, old)
	dropTypeDependent(s, old)
}

// dropAddress serves a change to ExternalName that did not touch the fields of the old type.
func dropAddress(s, old *corev1.ServiceSpec) {
	if s.ClusterIP == old.ClusterIP {
		s.ClusterIP, s.ClusterIPs = "", nil
	}
	s.IPFamilies, s.IPFamilyPolicy = nil, nil
}

func hasNodePorts(t corev1.ServiceType) bool {
	return t == corev1.ServiceTypeNodePort || t == corev1.ServiceTypeLoadBalancer
}

func needsHealthCheckPort(s *corev1.ServiceSpec) bool {
	return s.Type == corev1.ServiceTypeLoadBalancer && s.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

func keepNodePorts(s, old *corev1.ServiceSpec) {
	if needsHealthCheckPort(s) && needsHealthCheckPort(old) {
		fill(&s.HealthCheckNodePort, old.HealthCheckNodePort)
	}
	if !hasNodePorts(s.Type) || !hasNodePorts(old.Type) {
		return
	}
	type key struct {
		protocol corev1.Protocol
		port     int32
	}
	was, taken := map[key]int32{}, map[int32]bool{}
	for _, p := range old.Ports {
		was[key{p.Protocol, p.Port}] = p.NodePort
	}
	for _, p := range s.Ports {
		taken[p.NodePort] = p.NodePort != 0
	}
	for i := range s.Ports {
		p := &s.Ports[i]
		if n := was[key{p.Protocol, p.Port}]; p.NodePort == 0 && n != 0 && !taken[n] {
			p.NodePort = n
		}
	}
}

// dropTypeDependent clears allocated fields that the new type has no use for, if the user did not
// change them in the same breath; if he did, validation tells him.
func dropTypeDependent(s, old *corev1.ServiceSpec) {
	if hasNodePorts(old.Type) && !hasNodePorts(s.Type) && sameNodePorts(s, old) {
		for i := range s.Ports {
			s.Ports[i].NodePort = 0
		}
	}
	if needsHealthCheckPort(old) && !needsHealthCheckPort(s) && s.HealthCheckNodePort == old.HealthCheckNodePort {
		s.HealthCheckNodePort = 0
	}
	if old.Type == corev1.ServiceTypeLoadBalancer && s.Type != corev1.ServiceTypeLoadBalancer {
		if valueOf(s.AllocateLoadBalancerNodePorts) == valueOf(old.AllocateLoadBalancerNodePorts) {
			s.AllocateLoadBalancerNodePorts = nil
		}
		if valueOf(s.LoadBalancerClass) == valueOf(old.LoadBalancerClass) {
			s.LoadBalancerClass = nil
		}
	}
	if externallyReachable(old) && !externallyReachable(s) && s.ExternalTrafficPolicy == old.ExternalTrafficPolicy {
		s.ExternalTrafficPolicy = ""
	}
	if s.Type == corev1.ServiceTypeExternalName && valueOf(s.InternalTrafficPolicy) == valueOf(old.InternalTrafficPolicy) {
		s.InternalTrafficPolicy = nil
	}
}

func sameNodePorts(s, old *corev1.ServiceSpec) bool {
	if len(s.Ports) != len(old.Ports) {
		return false
	}
	for i := range s.Ports {
		if s.Ports[i].NodePort != old.Ports[i].NodePort {
			return false
		}
	}
	return true
}

func serviceRow(s *corev1.Service, now time.Time) []any {
	ip := cellNone
	if len(s.Spec.ClusterIPs) > 0 {
		ip = s.Spec.ClusterIPs[0]
	} else if s.Spec.ClusterIP != "" {
		ip = s.Spec.ClusterIP
	}
	return []any{
		s.Name, string(s.Spec.Type), ip, serviceExternal(s), servicePorts(s.Spec.Ports), age(s.CreationTimestamp, now),
		formatMap(s.Spec.Selector),
	}
}

func serviceExternal(s *corev1.Service) string {
	switch s.Spec.Type {
	case corev1.ServiceTypeExternalName:
		return orNone(s.Spec.ExternalName)
	case corev1.ServiceTypeLoadBalancer:
		all := append(ingressText(s), s.Spec.ExternalIPs...)
		if len(all) == 0 {
			return "<pending>"
		}
		return strings.Join(all, ",")
	}
	return orNone(strings.Join(s.Spec.ExternalIPs, ","))
}

func ingressText(s *corev1.Service) (out []string) {
	for _, in := range s.Status.LoadBalancer.Ingress {
		if in.IP != "" {
			out = append(out, in.IP)
		} else if in.Hostname != "" {
			out = append(out, in.Hostname)
		}
	}
	return out
}

func servicePorts(ports []corev1.ServicePort) string {
	var out []string
	for _, p := range ports {
		if p.NodePort != 0 {
			out = append(out, fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol))
		} else {
			out = append(out, fmt.Sprintf("%d/%s", p.Port, p.Protocol))
		}
	}
	return orNone(strings.Join(out, ","))
}
