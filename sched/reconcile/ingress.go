package reconcile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
)

// Resources of ingresses.
var (
	Ingresses      = schema.GroupResource{Group: networkingv1.GroupName, Resource: "ingresses"}
	IngressClasses = schema.GroupResource{Group: networkingv1.GroupName, Resource: "ingressclasses"}
	Secrets        = core("secrets")
)

// ingressing is what the engine knows for the ingresses that nodes serve: where those nodes are, and what it has said of each ingress.
type ingressing struct {
	gates     map[string][]string                       // addresses by node, the first family's first
	addresses []networkingv1.IngressLoadBalancerIngress // of the gates; nil if they have changed
	complaint map[ref]string
}

func newIngressing() ingressing {
	return ingressing{gates: map[string][]string{}, complaint: map[ref]string{}}
}

// noticedGate keeps the addresses at which ingresses are served; all ingresses say them.
func (e *Engine) noticedGate(node string, n *corev1.Node) {
	var addresses []string
	if n != nil {
		addresses = gateOf(n)
	}
	if slices.Equal(e.gates[node], addresses) {
		return
	}
	if e.gates[node] = addresses; len(addresses) == 0 {
		delete(e.gates, node)
	}
	e.addresses = nil
	e.markIngresses()
}

// gateAddresses are in order, each once: of all nodes the first family's, then the other's, so that who reads one reads the same as ever.
func (e *Engine) gateAddresses() []networkingv1.IngressLoadBalancerIngress {
	if e.addresses == nil {
		gates := slices.SortedFunc(maps.Values(e.gates), slices.Compare)
		gates = gates[:min(len(gates), ingressAddressesMax)]
		var all []string
		for i := range gateFamilies {
			for _, g := range gates {
				if i < len(g) && !slices.Contains(all, g[i]) {
					all = append(all, g[i])
				}
			}
		}
		for _, a := range all {
			e.addresses = append(e.addresses, networkingv1.IngressLoadBalancerIngress{IP: a})
		}
	}
	return slices.Clone(e.addresses)
}

const gateFamilies = 2

// gateOf are the addresses at which a node serves ingresses, at most one of each family; none if it does not do so now. Where it says addresses
// for those outside, these are what clients need.
func gateOf(n *corev1.Node) (out []string) {
	c := nodeCondition(n, corev1.NodeReady)
	_, left := n.Labels[corev1.LabelNodeExcludeBalancers]
	if n.Annotations[api.NodeIngressAnnotation] != "true" || c == nil || c.Status != corev1.ConditionTrue || left {
		return nil
	}
	for _, t := range []corev1.NodeAddressType{corev1.NodeExternalIP, corev1.NodeInternalIP} {
		for _, a := range n.Status.Addresses {
			same := func(other string) bool { return strings.Contains(other, ":") == strings.Contains(a.Address, ":") }
			if a.Type == t && !slices.ContainsFunc(out, same) {
				out = append(out, a.Address)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// markIngresses looks at all of them.
func (e *Engine) markIngresses() {
	for ns := range e.spaces {
		e.markIngressesOf(ns)
	}
}

// markIngressesOf looks at a namespace's: one may name what has come, changed or gone there.
func (e *Engine) markIngressesOf(ns string) {
	for name := range e.space(ns).objects[Ingresses] {
		e.mark(key{area: areaIngress, ns: ns, name: name})
	}
}

// syncIngress writes where an ingress that nodes serve is reached, and says what it misses.
func (e *Engine) syncIngress(k key) {
	r := ref{Ingresses, k.ns, k.name}
	o := e.objects[r]
	if o == nil {
		delete(e.complaint, r)
		return
	}
	in := o.obj.(*networkingv1.Ingress)
	if e.written[r] || in.DeletionTimestamp != nil || !e.serves(in) {
		return
	}
	e.complain(r, in)
	if want := e.gateAddresses(); !equality.Semantic.DeepEqual(in.Status.LoadBalancer.Ingress, want) {
		in = in.DeepCopy()
		in.Status.LoadBalancer.Ingress = want
		e.put(Ingresses, in, o.rev)
	}
}

// serves says whether the class of an ingress is the nodes' own; others are for whoever serves them.
func (e *Engine) serves(in *networkingv1.Ingress) bool {
	o := e.object(IngressClasses, "", api.IngressClassOf(in))
	return o != nil && o.obj.(*networkingv1.IngressClass).Spec.Controller == api.IngressController
}

// complain tells once what an ingress misses, and again when that is something else.
func (e *Engine) complain(r ref, in *networkingv1.Ingress) {
	faults := e.ingressFaults(in)
	said := make([]string, len(faults))
	for i, f := range faults {
		said[i] = f.message
	}
	text := strings.Join(said, "\n")
	if e.complaint[r] == text {
		return
	}
	for _, f := range faults {
		if !strings.Contains(e.complaint[r], f.message) {
			e.event(in, networkingv1.SchemeGroupVersion.WithKind("Ingress"), corev1.EventTypeWarning, f.reason, "ingress-controller", f.message)
		}
	}
	if e.complaint[r] = text; text == "" {
		delete(e.complaint, r)
	}
}

type ingressFault struct{ reason, message string }

func (e *Engine) ingressFaults(in *networkingv1.Ingress) (out []ingressFault) {
	add := func(reason, format string, args ...any) {
		if f := (ingressFault{reason, fmt.Sprintf(format, args...)}); !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	api.IngressBackends(in, func(b *networkingv1.IngressBackend) {
		switch {
		case b.Service == nil:
			add("UnsupportedBackend", "resource backends are not served; name a service")
		case e.object(Services, in.Namespace, b.Service.Name) == nil:
			add("ServiceNotFound", "service %s/%s does not exist", in.Namespace, b.Service.Name)
		case !hasPort(e.object(Services, in.Namespace, b.Service.Name).obj.(*corev1.Service), &b.Service.Port):
			add("PortNotFound", "service %s/%s has no TCP port %s", in.Namespace, b.Service.Name, backendPortText(&b.Service.Port))
		}
	})
	for _, t := range in.Spec.TLS {
		switch o := e.object(Secrets, in.Namespace, t.SecretName); {
		case t.SecretName == "": // the node's own certificate is asked for
		case o == nil:
			add("SecretNotFound", "secret %s/%s does not exist", in.Namespace, t.SecretName)
		case !hasKeyPair(o.obj.(*corev1.Secret)):
			add("InvalidSecret", "secret %s/%s has no certificate: it needs %s and %s", in.Namespace, t.SecretName, corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
		}
	}
	_, faults := api.ReadIngressOptions(in)
	for _, f := range faults {
		add("InvalidAnnotation", "%s", f)
	}
	return out
}

func hasPort(s *corev1.Service, want *networkingv1.ServiceBackendPort) bool {
	return slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool {
		tcp := p.Protocol == corev1.ProtocolTCP || p.Protocol == ""
		return tcp && (want.Name != "" && p.Name == want.Name || want.Name == "" && p.Port == want.Number)
	})
}

func backendPortText(p *networkingv1.ServiceBackendPort) string {
	if p.Name != "" {
		return p.Name
	}
	return fmt.Sprint(p.Number)
}

func hasKeyPair(s *corev1.Secret) bool {
	return len(s.Data[corev1.TLSCertKey]) > 0 && len(s.Data[corev1.TLSPrivateKeyKey]) > 0
}
