package reconcile

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var serviceKind = corev1.SchemeGroupVersion.WithKind("Service")

// draft is a slice as it is to be after this step.
type draft struct {
	old     *object // nil: new
	slice   *discoveryv1.EndpointSlice
	ports   string // the slice's ports as a string, to compare by
	touched bool
}

// syncService brings the slices and the Endpoints object of a service up to date.
func (e *Engine) syncService(k key) {
	s := e.services[types.NamespacedName{Namespace: k.ns, Name: k.name}]
	if s == nil {
		return
	}
	if s.obj == nil || len(s.obj.Spec.Selector) == 0 || len(s.mirrors) > 0 {
		e.syncMirrors(s)
	}
	if s.obj == nil {
		e.dropEndpoints(s)
		clear(s.changed)
		if len(s.slices)+len(s.mirrors) == 0 {
			delete(e.services, s.name)
		}
		return // slices go by their owner reference
	}
	if s.selector == nil || s.obj.DeletionTimestamp != nil || e.terminating(k.ns) {
		clear(s.changed)
		return // somebody else's business
	}
	drafts := e.draftSlices(s)
	e.writeSlices(s, drafts)
	e.writeEndpoints(s, drafts)
}

// draftSlices decides every changed pod's endpoint: in place where it is, out, or into a slice
// that has room.
func (e *Engine) draftSlices(s *service) []*draft {
	drafts, byName := loadDrafts(s)
	for _, d := range drafts {
		e.dress(s, d)
	}
	changed := slices.Sorted(maps.Keys(s.changed))
	clear(s.changed)
	wanted := addressTypes(s.obj)
	for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
		if slices.Contains(wanted, family) {
			drafts = e.draftFamily(s, drafts, byName, family, changed)
			continue
		}
		for _, d := range drafts { // of a family that the service had once
			if d.slice.AddressType == family && len(d.slice.Endpoints) > 0 {
				d.edit().Endpoints = []discoveryv1.Endpoint{}
			}
		}
	}
	return drafts
}

// draftFamily decides the changed pods' endpoints of one family.
func (e *Engine) draftFamily(s *service, drafts []*draft, byName map[string]*draft, family discoveryv1.AddressType, changed []types.UID) []*draft {
	var homeless []*pod
	for _, uid := range changed {
		p := s.members[uid]
		d := byName[s.where[seatOf(uid, family)]]
		if p != nil && !hasEndpoint(p, family) {
			p = nil
		}
		if d != nil && (p == nil || portsOf(s.obj, p).text != d.ports) {
			d.removeEndpoint(uid)
			d = nil
		}
		switch {
		case p == nil:
		case d == nil:
			homeless = append(homeless, p)
		default:
			d.setEndpoint(e.endpoint(s, p, family))
		}
	}
	for _, p := range homeless {
		drafts = e.house(s, drafts, p, family)
	}
	return e.placeholder(s, drafts, family)
}

func loadDrafts(s *service) ([]*draft, map[string]*draft) {
	byName := make(map[string]*draft, len(s.slices))
	drafts := make([]*draft, 0, len(s.slices))
	for _, name := range slices.Sorted(maps.Keys(s.slices)) {
		o := s.slices[name]
		d := &draft{old: o, slice: o.obj.(*discoveryv1.EndpointSlice)}
		d.ports = portText(d.slice.Ports)
		byName[name] = d
		drafts = append(drafts, d)
	}
	return drafts, byName
}

// edit makes the slice writable; endpoints are replaced whole, never changed inside.
func (d *draft) edit() *discoveryv1.EndpointSlice {
	if !d.touched {
		d.touched = true
		c := *d.slice
		c.Endpoints = slices.Clone(c.Endpoints)
		d.slice = &c
	}
	return d.slice
}

func (d *draft) find(uid types.UID) int {
	return slices.IndexFunc(d.slice.Endpoints, func(ep discoveryv1.Endpoint) bool {
		return ep.TargetRef != nil && ep.TargetRef.UID == uid
	})
}

func (d *draft) removeEndpoint(uid types.UID) {
	if i := d.find(uid); i >= 0 {
		s := d.edit()
		s.Endpoints = slices.Delete(s.Endpoints, i, i+1)
	}
}

func (d *draft) setEndpoint(ep discoveryv1.Endpoint) {
	i := d.find(ep.TargetRef.UID)
	switch {
	case i < 0:
		s := d.edit()
		s.Endpoints = append(s.Endpoints, ep)
	case !equality.Semantic.DeepEqual(d.slice.Endpoints[i], ep):
		d.edit().Endpoints[i] = ep
	}
}

// house puts an endpoint into the first slice of its ports that has room, or into a new one.
func (e *Engine) house(s *service, drafts []*draft, p *pod, family discoveryv1.AddressType) []*draft {
	ports := portsOf(s.obj, p)
	for _, d := range drafts {
		// An empty slice without ports is a placeholder: the first endpoint gives it its ports.
		if len(d.slice.Endpoints) == 0 && d.ports != ports.text && d.slice.AddressType == family {
			d.edit().Ports = ports.list
			d.ports = ports.text
		}
		if d.ports == ports.text && len(d.slice.Endpoints) < sliceEndpointsMax && d.slice.AddressType == family {
			d.setEndpoint(e.endpoint(s, p, family))
			return drafts
		}
	}
	d := e.newDraft(s, ports, family)
	d.setEndpoint(e.endpoint(s, p, family))
	return append(drafts, d)
}

func (e *Engine) newDraft(s *service, ports portSet, family discoveryv1.AddressType) *draft {
	sl := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: s.obj.Name + "-" + e.names.suffix(), GenerateName: s.obj.Name + "-", Namespace: s.obj.Namespace,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(s.obj, serviceKind)},
		},
		AddressType: family, Ports: ports.list, Endpoints: []discoveryv1.Endpoint{},
	}
	e.stamp(&sl.ObjectMeta)
	sl.Labels = sliceLabels(s.obj)
	return &draft{slice: sl, ports: ports.text, touched: true}
}

// dress keeps the labels of a slice those of its service.
func (e *Engine) dress(s *service, d *draft) {
	if want := sliceLabels(s.obj); !maps.Equal(want, d.slice.Labels) {
		d.edit().Labels = want
	}
}

func sliceLabels(svc *corev1.Service) map[string]string {
	l := maps.Clone(svc.Labels)
	if l == nil {
		l = map[string]string{}
	}
	delete(l, corev1.IsHeadlessService)
	if svc.Spec.ClusterIP == corev1.ClusterIPNone {
		l[corev1.IsHeadlessService] = ""
	}
	l[discoveryv1.LabelServiceName], l[discoveryv1.LabelManagedBy] = svc.Name, sliceManager
	return l
}

// placeholder leaves one slice, empty, for a service without endpoints, so that readers can tell
// "none" from "not decided yet".
func (e *Engine) placeholder(s *service, drafts []*draft, family discoveryv1.AddressType) []*draft {
	for _, d := range drafts {
		if d.slice.AddressType == family {
			return drafts
		}
	}
	return append(drafts, e.newDraft(s, portSet{list: []discoveryv1.EndpointPort{}}, family))
}

// writeSlices puts what changed and deletes slices that are empty, but for the last one of a family that the service has.
func (e *Engine) writeSlices(s *service, drafts []*draft) {
	kept := map[discoveryv1.AddressType]bool{} // families that have a slice which stays
	for _, d := range drafts {
		kept[d.slice.AddressType] = kept[d.slice.AddressType] || len(d.slice.Endpoints) > 0
	}
	wanted := addressTypes(s.obj)
	for _, d := range drafts {
		surplus := len(d.slice.Endpoints) == 0 && (kept[d.slice.AddressType] || !slices.Contains(wanted, d.slice.AddressType))
		kept[d.slice.AddressType] = true
		switch {
		case d.old != nil && e.written[d.old.ref]:
		case surplus && d.old != nil:
			e.remove(d.old)
		case surplus || !d.touched:
		case d.old == nil:
			e.put(EndpointSlices, d.slice, 0)
		default:
			d.slice.Generation++
			e.put(EndpointSlices, d.slice, d.old.rev)
		}
	}
}

// addressTypes are those of the slices that a service has.
func addressTypes(svc *corev1.Service) (out []discoveryv1.AddressType) {
	for _, f := range svc.Spec.IPFamilies {
		out = append(out, discoveryv1.AddressType(f)) // they have the same names
	}
	if len(out) == 0 {
		out = append(out, discoveryv1.AddressTypeIPv4)
	}
	return out
}

// hasEndpoint says whether the pod is shown at all: it has an address and has not ended.
func hasEndpoint(p *pod, family discoveryv1.AddressType) bool {
	if p.rec.Terminal() || p.doom == gone {
		return false
	}
	return podIPOf(p, family) != ""
}

// podIPOf is the pod's address of a family; "" if it has none. The second one of a pod takes decoding its status, which pods of one family
// are spared.
func podIPOf(p *pod, family discoveryv1.AddressType) string {
	fits := func(text string) bool {
		a, err := netip.ParseAddr(text)
		return err == nil && a.Is4() == (family == discoveryv1.AddressTypeIPv4)
	}
	first := p.rec.Status.PodIP()
	if first == "" || fits(first) {
		return first
	}
	for _, ip := range p.rec.Status.Decode().PodIPs {
		if fits(ip.IP) {
			return ip.IP
		}
	}
	return ""
}

func (e *Engine) endpoint(s *service, p *pod, family discoveryv1.AddressType) discoveryv1.Endpoint {
	serving, terminating := e.ready(p), p.deleting()
	ready := s.obj.Spec.PublishNotReadyAddresses || serving && !terminating
	ep := discoveryv1.Endpoint{
		Addresses:  []string{podIPOf(p, family)},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: p.ns(), Name: p.name(), UID: p.rec.UID},
	}
	if node := p.rec.Node; node != "" {
		ep.NodeName = &node
		if o := e.object(Nodes, "", node); o != nil {
			if zone := o.meta.GetLabels()[corev1.LabelTopologyZone]; zone != "" {
				ep.Zone = &zone
			}
		}
	}
	ep.Hints = hintsOf(s.obj, &ep)
	if spec := p.rec.Spec(); spec.Hostname != "" && spec.Subdomain == s.obj.Name {
		host := spec.Hostname
		ep.Hostname = &host
	}
	return ep
}

// hintsOf says for whom an endpoint is meant above others: clients in its zone, or first those on its node. Proxies pass the hints over
// while they would leave somebody without endpoints.
func hintsOf(svc *corev1.Service, ep *discoveryv1.Endpoint) *discoveryv1.EndpointHints {
	h := &discoveryv1.EndpointHints{}
	switch deref(svc.Spec.TrafficDistribution) {
	case corev1.ServiceTrafficDistributionPreferSameNode:
		if ep.NodeName != nil {
			h.ForNodes = []discoveryv1.ForNode{{Name: *ep.NodeName}}
		}
	case corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone:
	default:
		return nil
	}
	if ep.Zone != nil {
		h.ForZones = []discoveryv1.ForZone{{Name: *ep.Zone}}
	}
	if len(h.ForNodes)+len(h.ForZones) == 0 {
		return nil
	}
	return h
}

// portSet is the ports of a slice and a string to compare them by.
type portSet struct {
	list []discoveryv1.EndpointPort
	text string
}

// portsOf resolves the service's target ports in the pod; ports that it does not name are left out.
func portsOf(svc *corev1.Service, p *pod) portSet {
	list := make([]discoveryv1.EndpointPort, 0, len(svc.Spec.Ports))
	for i := range svc.Spec.Ports {
		sp := &svc.Spec.Ports[i]
		number, ok := targetPort(sp, p.rec.Spec())
		if !ok {
			continue
		}
		name, protocol := sp.Name, sp.Protocol
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		list = append(list, discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: &number, AppProtocol: sp.AppProtocol})
	}
	return portSet{list, portText(list)}
}

func targetPort(sp *corev1.ServicePort, spec *corev1.PodSpec) (int32, bool) {
	if sp.TargetPort.StrVal == "" {
		if sp.TargetPort.IntVal == 0 {
			return sp.Port, true
		}
		return sp.TargetPort.IntVal, true
	}
	for _, list := range [][]corev1.Container{spec.Containers, spec.InitContainers} {
		for i := range list {
			for _, cp := range list[i].Ports {
				if cp.Name == sp.TargetPort.StrVal && sameProtocol(cp.Protocol, sp.Protocol) {
					return cp.ContainerPort, true
				}
			}
		}
	}
	return 0, false
}

func sameProtocol(a, b corev1.Protocol) bool {
	if a == "" {
		a = corev1.ProtocolTCP
	}
	if b == "" {
		b = corev1.ProtocolTCP
	}
	return a == b
}

func portText(ports []discoveryv1.EndpointPort) string {
	var b strings.Builder
	for _, p := range ports {
		fmt.Fprintf(&b, "%s/%s/%d/%s;", deref(p.Name), deref(p.Protocol), deref(p.Port), deref(p.AppProtocol))
	}
	return b.String()
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
