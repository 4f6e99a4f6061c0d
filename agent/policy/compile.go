package policy

import (
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/peapod-sh/peapod/agent/network"
)

// direction of traffic as its pod sees it.
type direction uint8

const (
	ingress direction = iota
	egress
	directions
)

// compiled is a policy whose selectors and ranges were read once.
type compiled struct {
	namespace string
	subject   labels.Selector
	isolates  [directions]bool
	rules     [directions][]*rule
}

// rule allows peers at ports. Without peers it allows everybody, without ports every port.
type rule struct {
	namespace string // the policy's
	anyPeer   bool
	pods      []podPeer
	blocks    []network.AddrRange
	anyPort   bool
	ports     []network.PortRange
	named     []namedPort
}

// podPeer selects pods: in the namespaces that match, or in the policy's own if namespaces is nil.
type podPeer struct{ namespaces, pods labels.Selector }

type namedPort struct {
	name     string
	protocol uint8
}

// compile reads a policy as the API has accepted it. What cannot be read allows nothing.
func compile(p *networkingv1.NetworkPolicy) *compiled {
	c := &compiled{namespace: p.Namespace, subject: selector(&p.Spec.PodSelector)}
	for _, t := range p.Spec.PolicyTypes {
		c.isolates[ingress] = c.isolates[ingress] || t == networkingv1.PolicyTypeIngress
		c.isolates[egress] = c.isolates[egress] || t == networkingv1.PolicyTypeEgress
	}
	for _, r := range p.Spec.Ingress {
		c.rules[ingress] = append(c.rules[ingress], compileRule(p.Namespace, r.From, r.Ports))
	}
	for _, r := range p.Spec.Egress {
		c.rules[egress] = append(c.rules[egress], compileRule(p.Namespace, r.To, r.Ports))
	}
	return c
}

func compileRule(namespace string, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) *rule {
	r := &rule{namespace: namespace, anyPeer: len(peers) == 0, anyPort: len(ports) == 0}
	for i := range peers {
		switch p := &peers[i]; {
		case p.IPBlock != nil:
			r.blocks = append(r.blocks, block(p.IPBlock.CIDR, p.IPBlock.Except)...)
		case p.NamespaceSelector != nil && p.PodSelector == nil:
			r.pods = append(r.pods, podPeer{selector(p.NamespaceSelector), labels.Everything()})
		case p.NamespaceSelector != nil:
			r.pods = append(r.pods, podPeer{selector(p.NamespaceSelector), selector(p.PodSelector)})
		case p.PodSelector != nil:
			r.pods = append(r.pods, podPeer{nil, selector(p.PodSelector)})
		}
	}
	for i := range ports {
		r.addPort(&ports[i])
	}
	return r
}

func (r *rule) addPort(p *networkingv1.NetworkPolicyPort) {
	protocol := uint8(6)
	if p.Protocol != nil {
		n, ok := protocolNumber(*p.Protocol)
		if !ok {
			return
		}
		protocol = n
	}
	switch {
	case p.Port == nil:
		r.ports = append(r.ports, network.PortRange{Protocol: protocol, First: 0, Last: 65535})
	case p.Port.Type == intstr.String:
		r.named = append(r.named, namedPort{p.Port.StrVal, protocol})
	default:
		last := p.Port.IntVal
		if p.EndPort != nil {
			last = *p.EndPort
		}
		r.ports = append(r.ports, network.PortRange{Protocol: protocol, First: uint16(p.Port.IntVal), Last: uint16(last)})
	}
}

// selector reads one that the API has validated.
func selector(s *metav1.LabelSelector) labels.Selector {
	out, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return out
}
