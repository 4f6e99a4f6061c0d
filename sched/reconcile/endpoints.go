package reconcile

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The label that tells our Endpoints objects from those that people write.
const (
	endpointsManagedBy = "endpoints.kubernetes.io/managed-by"
	endpointsManager   = "endpoint-controller"
)

// writeEndpoints keeps the older Endpoints object of the service, as the drafts of the slices say.
func (e *Engine) writeEndpoints(s *service, drafts []*draft) {
	o := e.object(Endpoints, s.name.Namespace, s.name.Name)
	want := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: s.name.Namespace, Name: s.name.Name}}
	expect := uint64(0)
	var old *corev1.Endpoints
	if o != nil {
		if e.written[o.ref] {
			return
		}
		old, expect = o.obj.(*corev1.Endpoints), o.rev
		want.ObjectMeta = *old.ObjectMeta.DeepCopy()
	} else {
		e.stamp(&want.ObjectMeta)
		want.Generation = 0
	}
	subsets, over := subsetsOf(s.obj, drafts)
	want.Subsets, want.Labels = subsets, endpointsLabels(s.obj)
	setOverCapacity(&want.ObjectMeta, over)
	if old != nil && equality.Semantic.DeepEqual(old.Subsets, want.Subsets) && maps.Equal(old.Labels, want.Labels) &&
		maps.Equal(old.Annotations, want.Annotations) {
		return
	}
	e.put(Endpoints, want, expect)
}

func endpointsLabels(svc *corev1.Service) map[string]string {
	l := maps.Clone(svc.Labels)
	if l == nil {
		l = map[string]string{}
	}
	delete(l, corev1.IsHeadlessService)
	if svc.Spec.ClusterIP == corev1.ClusterIPNone {
		l[corev1.IsHeadlessService] = ""
	}
	l[endpointsManagedBy] = endpointsManager
	return l
}

func setOverCapacity(m *metav1.ObjectMeta, over bool) {
	if over {
		if m.Annotations == nil {
			m.Annotations = map[string]string{}
		}
		m.Annotations[corev1.EndpointsOverCapacity] = "truncated"
		return
	}
	delete(m.Annotations, corev1.EndpointsOverCapacity)
}

// subsetsOf groups the endpoints of all slices by ports. Terminating ones are left out, unless the
// service publishes addresses that are not ready; over says that there were too many to show all.
func subsetsOf(svc *corev1.Service, drafts []*draft) (out []corev1.EndpointSubset, over bool) {
	at, count := map[string]int{}, 0
	for _, readyOnes := range []bool{true, false} { // what is ready is shown first
		for _, d := range drafts {
			if d.slice.AddressType != addressTypes(svc)[0] {
				continue // the object is older than the second family
			}
			for k := range d.slice.Endpoints {
				ep := &d.slice.Endpoints[k]
				if deref(ep.Conditions.Ready) != readyOnes || deref(ep.Conditions.Terminating) && !svc.Spec.PublishNotReadyAddresses {
					continue
				}
				if count++; count > endpointsAddressesMax {
					over = true
					continue
				}
				i, ok := at[d.ports]
				if !ok {
					i = len(out)
					at[d.ports] = i
					out = append(out, corev1.EndpointSubset{Ports: endpointPorts(d.slice.Ports)})
				}
				if readyOnes {
					out[i].Addresses = append(out[i].Addresses, endpointAddress(ep))
				} else {
					out[i].NotReadyAddresses = append(out[i].NotReadyAddresses, endpointAddress(ep))
				}
			}
		}
	}
	for i := range out {
		slices.SortFunc(out[i].Addresses, compareAddresses)
		slices.SortFunc(out[i].NotReadyAddresses, compareAddresses)
	}
	slices.SortFunc(out, func(a, b corev1.EndpointSubset) int { return slices.CompareFunc(a.Ports, b.Ports, comparePorts) })
	return out, over
}

func compareAddresses(a, b corev1.EndpointAddress) int { return strings.Compare(a.IP, b.IP) }

func comparePorts(a, b corev1.EndpointPort) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Port, b.Port), strings.Compare(string(a.Protocol), string(b.Protocol)))
}

func endpointAddress(ep *discoveryv1.Endpoint) corev1.EndpointAddress {
	return corev1.EndpointAddress{IP: ep.Addresses[0], Hostname: deref(ep.Hostname), NodeName: ep.NodeName, TargetRef: ep.TargetRef}
}

func endpointPorts(in []discoveryv1.EndpointPort) []corev1.EndpointPort {
	out := make([]corev1.EndpointPort, len(in))
	for i, p := range in {
		out[i] = corev1.EndpointPort{Name: deref(p.Name), Port: deref(p.Port), Protocol: deref(p.Protocol), AppProtocol: p.AppProtocol}
	}
	return out
}

// dropEndpoints deletes our Endpoints object of a service that is gone.
func (e *Engine) dropEndpoints(s *service) {
	if o := e.object(Endpoints, s.name.Namespace, s.name.Name); o != nil && o.meta.GetLabels()[endpointsManagedBy] == endpointsManager {
		e.remove(o)
	}
}
