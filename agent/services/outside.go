package services

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/netproxy"
)

// HealthCheck is a health check node port and what it has to say.
type HealthCheck struct {
	Namespace, Name string // of the service
	Port            uint16
	LocalEndpoints  int // that are ready on this node
}

// machine is what is to be known of a node.
type machine struct {
	zone      string
	addresses string // sorted, with commas between them, to compare by
	pods      string // its CIDRs of pods, likewise
	lost      bool   // it is taken for dead
}

// PutNode takes a node as it is now and reports whether that may change the table.
func (m *Model) PutNode(n *corev1.Node) (changed bool) {
	x := machine{zone: n.Labels[corev1.LabelTopologyZone], pods: strings.Join(n.Spec.PodCIDRs, ",")}
	x.lost = slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionUnknown
	})
	var all []string
	for _, a := range n.Status.Addresses {
		all = append(all, a.Address)
	}
	slices.Sort(all)
	x.addresses = strings.Join(all, ",")
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.written()
	changed = o.nodes[n.Name] != x
	o.nodes[n.Name] = x
	return changed
}

// DeleteNode forgets one.
func (m *Model) DeleteNode(n string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.written().nodes, n)
}

// others are the addresses of the other nodes. A service may name one as its own, but this node must go on reaching that node.
// It is called with mu held.
func (m *Model) others() map[string]bool {
	out := map[string]bool{}
	for n, x := range m.live.nodes {
		if n != m.node {
			for _, a := range strings.Split(x.addresses, ",") {
				out[a] = true
			}
		}
	}
	return out
}

// lost are the addresses of other nodes that are taken for dead, and of the pods there. It is called with mu held.
func (m *Model) lost() (out []netip.Prefix) {
	for n, x := range m.live.nodes {
		if n == m.node || !x.lost {
			continue
		}
		for _, text := range strings.Split(x.pods, ",") {
			if p, err := netip.ParsePrefix(text); err == nil {
				out = append(out, p.Masked())
			}
		}
		for _, ip := range appendAddresses(nil, strings.Split(x.addresses, ","), nil) {
			out = append(out, netip.PrefixFrom(ip, ip.BitLen()))
		}
	}
	return out
}

// setOutside adds the addresses by which a service is reached from outside the cluster. One of our own pool is answered by the node that
// announces it; of others it is not known which node that is, so all do.
func (m *Model) setOutside(out *netproxy.Service, s *corev1.Service, others map[string]bool) {
	if out.Headless || s.Spec.Type == corev1.ServiceTypeExternalName {
		return
	}
	out.ExternalIPs = appendAddresses(nil, s.Spec.ExternalIPs, others)
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return
	}
	announcer := s.Annotations[api.BalancerNodeAnnotation]
	out.Announced = announcer != ""
	for _, in := range s.Status.LoadBalancer.Ingress {
		if (in.IPMode == nil || *in.IPMode == corev1.LoadBalancerIPModeVIP) && (announcer == "" || announcer == m.node) {
			out.BalancerIPs = appendAddresses(out.BalancerIPs, []string{in.IP}, others)
		}
	}
	for _, text := range s.Spec.LoadBalancerSourceRanges {
		if p, err := netip.ParsePrefix(strings.TrimSpace(text)); err == nil {
			out.SourceRanges = append(out.SourceRanges, p.Masked())
		}
	}
}

func appendAddresses(out []netip.Addr, texts []string, others map[string]bool) []netip.Addr {
	for _, text := range texts {
		if ip, err := netip.ParseAddr(text); err == nil && !others[text] {
			out = append(out, ip.Unmap())
		}
	}
	return out
}

// HealthChecks lists the ports to open.
func (m *Model) HealthChecks() (out []HealthCheck) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n, s := range m.live.services {
		if p := s.Spec.HealthCheckNodePort; p != 0 && s.Spec.Type == corev1.ServiceTypeLoadBalancer {
			out = append(out, HealthCheck{n.namespace, n.name, uint16(p), m.localEndpoints(m.live.slices[n])})
		}
	}
	return out
}

// localEndpoints counts addresses, since a pod with several ports is one endpoint.
func (m *Model) localEndpoints(parts map[string]*discoveryv1.EndpointSlice) int {
	local := map[string]bool{}
	for _, s := range parts {
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			if e.NodeName != nil && *e.NodeName == m.node && (e.Conditions.Ready == nil || *e.Conditions.Ready) && len(e.Addresses) > 0 {
				local[e.Addresses[0]] = true
			}
		}
	}
	return len(local)
}

// hint is for whom an endpoint is meant above others.
type hint struct{ nodes, zones []string }

func hintOf(e *discoveryv1.Endpoint) (h hint) {
	if e.Hints == nil {
		return h
	}
	for _, n := range e.Hints.ForNodes {
		h.nodes = append(h.nodes, n.Name)
	}
	for _, z := range e.Hints.ForZones {
		h.zones = append(h.zones, z.Name)
	}
	return h
}

// near marks the ready endpoints that are meant for this node, or if there is none those for its zone. Hints count only if every ready
// endpoint has one: otherwise they are about to be written, and those without would be missed.
func near(list []netproxy.Endpoint, hints map[netip.AddrPort]hint, node, zone string) {
	of := func(values func(hint) []string, self string) bool {
		some := false
		for i := range list {
			if !list[i].Ready {
				continue
			}
			v := values(hints[list[i].Address])
			if len(v) == 0 {
				return false
			}
			some = some || slices.Contains(v, self)
		}
		return some && self != ""
	}
	mark := func(values func(hint) []string, self string) bool {
		if !of(values, self) {
			return false
		}
		for i := range list {
			list[i].Near = list[i].Ready && slices.Contains(values(hints[list[i].Address]), self)
		}
		return true
	}
	_ = mark(func(h hint) []string { return h.nodes }, node) || mark(func(h hint) []string { return h.zones }, zone)
}
