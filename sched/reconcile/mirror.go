package reconcile

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mirrorManager is the value of the managed-by label of slices that show people's own Endpoints.
const mirrorManager = "endpointslicemirroring-controller.k8s.io"

var endpointsKind = corev1.SchemeGroupVersion.WithKind("Endpoints")

// mirror is what one slice is to show: the addresses of one family with the same ports.
type mirror struct {
	family discoveryv1.AddressType
	ports  portSet
	list   []discoveryv1.Endpoint
}

// syncMirrors shows the Endpoints that people wrote for a service without selector as slices, which is all that proxies read.
func (e *Engine) syncMirrors(s *service) {
	var want []*mirror
	ep := e.mirrored(s)
	if ep != nil {
		want = mirrorsOf(ep)
	}
	for _, name := range slices.Sorted(maps.Keys(s.mirrors)) {
		o := s.mirrors[name]
		old := o.obj.(*discoveryv1.EndpointSlice)
		i := slices.IndexFunc(want, func(m *mirror) bool { return m.family == old.AddressType && m.ports.text == portText(old.Ports) })
		if i < 0 {
			e.remove(o)
			continue
		}
		e.rewriteMirror(o, ep, want[i])
		want = slices.Delete(want, i, i+1)
	}
	for _, m := range want {
		e.put(EndpointSlices, e.newMirror(ep, m), 0)
	}
}

// noticedMirror keeps the mirrors by service; what somebody has changed is written again.
func (e *Engine) noticedMirror(o *object, there bool) {
	l := o.meta.GetLabels()
	if l[discoveryv1.LabelManagedBy] != mirrorManager || l[discoveryv1.LabelServiceName] == "" {
		return
	}
	s := e.serviceOf(o.ns, l[discoveryv1.LabelServiceName])
	if delete(s.mirrors, o.name); there {
		s.mirrors[o.name] = o
	}
	e.mark(s.key())
}

// mirrored are the Endpoints to show; nil if there are none, or they are not to be shown.
func (e *Engine) mirrored(s *service) *corev1.Endpoints {
	if s.obj == nil || len(s.obj.Spec.Selector) > 0 || s.obj.DeletionTimestamp != nil || e.terminating(s.name.Namespace) {
		return nil
	}
	o := e.object(Endpoints, s.name.Namespace, s.name.Name)
	if o == nil || o.meta.GetDeletionTimestamp() != nil || o.meta.GetLabels()[discoveryv1.LabelSkipMirror] == "true" {
		return nil
	}
	return o.obj.(*corev1.Endpoints)
}

func mirrorsOf(ep *corev1.Endpoints) (out []*mirror) {
	for i := range ep.Subsets {
		sub := &ep.Subsets[i]
		ports := mirrorPorts(sub.Ports)
		for _, a := range sub.Addresses {
			out = appendMirror(out, ports, a, true)
		}
		for _, a := range sub.NotReadyAddresses {
			out = appendMirror(out, ports, a, false)
		}
	}
	return out
}

func appendMirror(out []*mirror, ports portSet, a corev1.EndpointAddress, ready bool) []*mirror {
	ip, err := netip.ParseAddr(a.IP)
	if err != nil {
		return out
	}
	family := discoveryv1.AddressTypeIPv4
	if ip.Is6() {
		family = discoveryv1.AddressTypeIPv6
	}
	i := slices.IndexFunc(out, func(m *mirror) bool { return m.family == family && m.ports.text == ports.text })
	if i < 0 {
		i = len(out)
		out = append(out, &mirror{family: family, ports: ports})
	}
	m := out[i]
	same := func(e discoveryv1.Endpoint) bool { return e.Addresses[0] == a.IP }
	if len(m.list) < endpointsAddressesMax && !slices.ContainsFunc(m.list, same) {
		m.list = append(m.list, mirrorEndpoint(a, ready))
	}
	return out
}

func mirrorEndpoint(a corev1.EndpointAddress, ready bool) discoveryv1.Endpoint {
	ep := discoveryv1.Endpoint{Addresses: []string{a.IP}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		NodeName: a.NodeName, TargetRef: a.TargetRef}
	if a.Hostname != "" {
		ep.Hostname = &a.Hostname
	}
	return ep
}

func mirrorPorts(in []corev1.EndpointPort) portSet {
	list := make([]discoveryv1.EndpointPort, 0, len(in))
	for _, p := range in {
		if p.Protocol == "" {
			p.Protocol = corev1.ProtocolTCP
		}
		list = append(list, discoveryv1.EndpointPort{Name: &p.Name, Protocol: &p.Protocol, Port: &p.Port, AppProtocol: p.AppProtocol})
	}
	return portSet{list, portText(list)}
}

func (e *Engine) newMirror(ep *corev1.Endpoints, m *mirror) *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: ep.Name + "-" + e.names.suffix(), GenerateName: ep.Name + "-", Namespace: ep.Namespace,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(ep, endpointsKind)}},
		AddressType: m.family, Ports: m.ports.list, Endpoints: m.list,
	}
	e.stamp(&out.ObjectMeta)
	out.Labels, out.Annotations = mirrorMarks(ep)
	return out
}

func (e *Engine) rewriteMirror(o *object, ep *corev1.Endpoints, m *mirror) {
	old := o.obj.(*discoveryv1.EndpointSlice)
	labels, annotations := mirrorMarks(ep)
	if e.written[o.ref] || equality.Semantic.DeepEqual(old.Endpoints, m.list) && maps.Equal(old.Labels, labels) && maps.Equal(old.Annotations, annotations) {
		return
	}
	c := *old
	c.Labels, c.Annotations, c.Endpoints = labels, annotations, m.list
	c.Generation++
	e.put(EndpointSlices, &c, o.rev)
}

// mirrorMarks are the labels and annotations of a mirror: those of the Endpoints, but for what speaks of that object only.
func mirrorMarks(ep *corev1.Endpoints) (labels, annotations map[string]string) {
	labels = maps.Clone(ep.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[discoveryv1.LabelServiceName], labels[discoveryv1.LabelManagedBy] = ep.Name, mirrorManager
	annotations = maps.Clone(ep.Annotations)
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	delete(annotations, corev1.EndpointsLastChangeTriggerTime)
	return labels, annotations
}
