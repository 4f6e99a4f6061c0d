package services

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/netproxy"
)

// Model holds the watched objects. It is safe for concurrent use.
type Model struct {
	node      string
	domain    string
	addresses []netip.Addr

	mu   sync.Mutex
	live *objects // what Table shows
	next *objects // while a watch starts over: what it has told so far; nil otherwise

	changed chan struct{} // closed with the next change of live; nil while nobody waits
}

// objects is one state of the watched tables.
type objects struct {
	services map[name]*corev1.Service
	slices   map[name]map[string]*discoveryv1.EndpointSlice // by service, then by the slice's own name
	owner    map[name]name                                  // slice -> its service
	revision uint64
	ahead    bool // changes were told, and their revision was not yet
	nodes    map[string]machine
}

func newObjects() *objects {
	return &objects{services: map[name]*corev1.Service{}, slices: map[name]map[string]*discoveryv1.EndpointSlice{}, owner: map[name]name{}, nodes: map[string]machine{}}
}

type name struct{ namespace, name string }

// New makes an empty model for one node. Node ports are opened at addresses.
func New(node, domain string, addresses []netip.Addr) *Model {
	return &Model{node: node, domain: domain, addresses: addresses, live: newObjects()}
}

// Begin says that a watch starts over. What was known stays in force until Synced, so that nobody ever
// sees half a cluster.
func (m *Model) Begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next = newObjects()
}

// Synced puts what was told since Begin, which is all as of a revision, in force; what was not told is gone.
func (m *Model) Synced(revision uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.next != nil {
		m.live, m.next = m.next, nil
	}
	m.live.revision, m.live.ahead = max(m.live.revision, revision), false
	m.tellLocked()
}

// written is where news go, until Reached tells of what revision they are.
func (m *Model) written() *objects {
	o := m.live
	if m.next != nil {
		o = m.next
	}
	o.ahead = true
	return o
}

// PutService takes a service as it is now.
func (m *Model) PutService(s *corev1.Service) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.written().services[name{s.Namespace, s.Name}] = s
}

// DeleteService forgets one.
func (m *Model) DeleteService(namespace, n string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.written().services, name{namespace, n})
}

// PutSlice takes an endpoint slice as it is now.
func (m *Model) PutSlice(s *discoveryv1.EndpointSlice) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.written()
	o.dropSlice(name{s.Namespace, s.Name})
	service := name{s.Namespace, s.Labels[discoveryv1.LabelServiceName]}
	if service.name == "" || s.AddressType == discoveryv1.AddressTypeFQDN {
		return
	}
	if o.slices[service] == nil {
		o.slices[service] = map[string]*discoveryv1.EndpointSlice{}
	}
	o.slices[service][s.Name] = s
	o.owner[name{s.Namespace, s.Name}] = service
}

// DeleteSlice forgets one.
func (m *Model) DeleteSlice(namespace, n string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.written().dropSlice(name{namespace, n})
}

func (o *objects) dropSlice(slice name) {
	service, ok := o.owner[slice]
	if !ok {
		return
	}
	delete(o.owner, slice)
	delete(o.slices[service], slice.name)
	if len(o.slices[service]) == 0 {
		delete(o.slices, service)
	}
}

// OfNamespace lists the services of a namespace by name, for the environment of containers.
func (m *Model) OfNamespace(namespace string) []*corev1.Service {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*corev1.Service
	for n, s := range m.live.services {
		if n.namespace == namespace {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *corev1.Service) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Table makes the proxy's table of what is known now. Its generation is the revision of that.
func (m *Model) Table() *netproxy.Table {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := &netproxy.Table{Generation: m.live.revision, NodeName: m.node, ClusterDomain: m.domain, NodeAddresses: m.addresses, Lost: m.lost()}
	others := m.others()
	for n, s := range m.live.services {
		svc := m.service(s, m.live.slices[n])
		m.setOutside(&svc, s, others)
		t.Services = append(t.Services, svc)
	}
	slices.SortFunc(t.Services, func(a, b netproxy.Service) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return t
}

func (m *Model) service(s *corev1.Service, parts map[string]*discoveryv1.EndpointSlice) netproxy.Service {
	out := netproxy.Service{Namespace: s.Namespace, Name: s.Name,
		ExternalName: s.Spec.ExternalName, Headless: s.Spec.ClusterIP == corev1.ClusterIPNone,
		AffinityTimeout: affinity(s), PublishNotReady: s.Spec.PublishNotReadyAddresses,
		ExternalLocal: s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		ProxyHeader:   s.Annotations[api.ProxyProtocolAnnotation] == "v2",
		InternalLocal: s.Spec.InternalTrafficPolicy != nil && *s.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
	}
	if s.Spec.Type != corev1.ServiceTypeExternalName {
		out.ExternalName = ""
	}
	for _, ip := range s.Spec.ClusterIPs {
		if a, err := netip.ParseAddr(ip); err == nil {
			out.VIPs = append(out.VIPs, a)
		}
	}
	keep := s.Annotations[api.KeepSourceAnnotation] == "true"
	out.KeepInternal, out.KeepExternal = keep || out.InternalLocal, out.ExternalLocal
	for _, p := range s.Spec.Ports {
		protocol, ok := protocolOf(p.Protocol)
		if !ok {
			continue
		}
		out.Ports = append(out.Ports, netproxy.Port{Name: p.Name, Protocol: protocol, App: appOf(p), Port: uint16(p.Port), NodePort: uint16(p.NodePort),
			Endpoints: m.endpoints(p, parts)})
	}
	if out.Headless && len(s.Spec.Ports) == 0 {
		out.Portless = m.collect(parts, func(*discoveryv1.EndpointSlice) (uint16, bool) { return 0, true })
	}
	return out
}

// defaultAffinity is what Kubernetes documents for ClientIP affinity without a timeout: three hours.
const defaultAffinity = 3 * time.Hour

func affinity(s *corev1.Service) time.Duration {
	if s.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	if c := s.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		return time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
	}
	return defaultAffinity
}

func protocolOf(p corev1.Protocol) (netproxy.Protocol, bool) {
	switch p {
	case corev1.ProtocolTCP, "":
		return netproxy.TCP, true
	case corev1.ProtocolUDP:
		return netproxy.UDP, true
	}
	return 0, false
}

// endpoints collects a port's backends.
func (m *Model) endpoints(port corev1.ServicePort, parts map[string]*discoveryv1.EndpointSlice) []netproxy.Endpoint {
	return m.collect(parts, func(s *discoveryv1.EndpointSlice) (uint16, bool) { return portOf(port, s) })
}

// collect joins the slices that have a port, in a stable order.
func (m *Model) collect(parts map[string]*discoveryv1.EndpointSlice, port func(*discoveryv1.EndpointSlice) (uint16, bool)) []netproxy.Endpoint {
	var out []netproxy.Endpoint
	hints := map[netip.AddrPort]hint{}
	for _, s := range parts {
		number, ok := port(s)
		if !ok {
			continue
		}
		for i := range s.Endpoints {
			before := len(out)
			out = appendEndpoint(out, &s.Endpoints[i], number)
			for _, e := range out[before:] {
				hints[e.Address] = hintOf(&s.Endpoints[i])
			}
		}
	}
	// A pod that is in two slices for a moment counts as the better one says, whichever was told first.
	slices.SortFunc(out, func(a, b netproxy.Endpoint) int { return cmp.Or(a.Address.Compare(b.Address), worth(b)-worth(a)) })
	out = slices.CompactFunc(out, func(a, b netproxy.Endpoint) bool { return a.Address == b.Address })
	near(out, hints, m.node, m.live.nodes[m.node].zone)
	return out
}

func appOf(p corev1.ServicePort) string {
	if p.AppProtocol == nil {
		return ""
	}
	return *p.AppProtocol
}

func worth(e netproxy.Endpoint) int {
	switch {
	case e.Ready:
		return 2
	case e.Serving:
		return 1
	}
	return 0
}

func portOf(port corev1.ServicePort, s *discoveryv1.EndpointSlice) (uint16, bool) {
	for _, p := range s.Ports {
		named := p.Name == nil && port.Name == "" || p.Name != nil && *p.Name == port.Name
		if named && p.Port != nil {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

func appendEndpoint(out []netproxy.Endpoint, e *discoveryv1.Endpoint, port uint16) []netproxy.Endpoint {
	ready := isTrue(e.Conditions.Ready, true)
	for _, text := range e.Addresses {
		a, err := netip.ParseAddr(text)
		if err != nil {
			continue
		}
		x := netproxy.Endpoint{Address: netip.AddrPortFrom(a, port), Ready: ready,
			Serving: isTrue(e.Conditions.Serving, ready), Terminating: isTrue(e.Conditions.Terminating, false)}
		if e.Hostname != nil {
			x.Hostname = *e.Hostname
		}
		if e.NodeName != nil {
			x.Node = *e.NodeName
		}
		out = append(out, x)
	}
	return out
}
