package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/agent/network"
)

// world is what the model is told, as the API has it.
type world struct {
	policies   []*networkingv1.NetworkPolicy
	namespaces map[string]map[string]string
	own, other []*corev1.Pod
}

func (w *world) model() *Model {
	m := New(nodeAddress, nodeAddress6)
	m.Begin(false)
	for _, p := range w.policies {
		m.PutPolicy(p)
	}
	for n, l := range w.namespaces {
		m.PutNamespace(n, l)
	}
	for _, p := range w.own {
		m.PutOwn(PodOf(p))
	}
	for _, p := range w.other {
		m.PutOther(PodOf(p))
	}
	m.Synced()
	return m
}

var nodeAddress, nodeAddress6 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8:1::1")

func isNodeAddress(a netip.Addr) bool { return a == nodeAddress || a == nodeAddress6 }

// ips are a pod's, one of each family.
func ips(p *corev1.Pod) (out []netip.Addr) {
	for _, ip := range p.Status.PodIPs {
		out = append(out, netip.MustParseAddr(ip.IP))
	}
	return out
}

func setIPs(p *corev1.Pod, four, six string) {
	p.Status.PodIP = four
	p.Status.PodIPs = []corev1.PodIP{{IP: four}, {IP: six}}
}

// Invariant 120: what is allowed is what reading the policies one by one gives, for the proxy and for the kernel.
func TestPoliciesAreReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		v := w.model().View()
		f := v.Filter()
		family := rapid.IntRange(0, 1).Draw(t, "family")
		clients := [][]netip.Addr{{netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("198.51.100.129"), nodeAddress},
			{netip.MustParseAddr("2001:db8::7"), netip.MustParseAddr("2001:db8::8007"), nodeAddress6}}[family]
		for _, p := range append(w.own, w.other...) {
			clients = append(clients, ips(p)[family])
		}
		from, to := rapid.SampledFrom(clients).Draw(t, "from"), rapid.SampledFrom(clients).Draw(t, "to")
		port := rapid.SampledFrom([]uint16{80, 81, 90, 99}).Draw(t, "port")
		protocol := rapid.SampledFrom([]corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}).Draw(t, "protocol")
		number, _ := protocolNumber(protocol)
		want := w.naive(from, to, port, protocol)
		if got := v.Allows(from, netip.AddrPortFrom(to, port), number); got != want {
			t.Fatalf("from %s to %s:%d/%s the proxy allows %v, want %v", from, to, port, protocol, got, want)
		}
		// What is between this node and its own pods never meets the packet filter, nor what a pod says to itself.
		if from == to || isNodeAddress(from) || isNodeAddress(to) {
			return
		}
		wantHere := (!w.isOwn(from) || w.naiveDirection(from, to, to, port, protocol, egress)) && (!w.isOwn(to) || w.naiveDirection(to, from, to, port, protocol, ingress))
		if got := filtered(f, from, to, port, number); got != wantHere {
			t.Fatalf("from %s to %s:%d/%s the filter allows %v, want %v: %+v", from, to, port, protocol, got, wantHere, f)
		}
	})
}

// filtered reads a filter as the kernel does.
func filtered(f *network.Filter, from, to netip.Addr, port uint16, protocol uint8) bool {
	out, isolated := f.Egress[from]
	if isolated && !allowed(out, to, port, protocol) {
		return false
	}
	in, isolated := f.Ingress[to]
	return !isolated || allowed(in, from, port, protocol)
}

func (w *world) isOwn(a netip.Addr) bool {
	for _, p := range w.own {
		if slices.Contains(ips(p), a) {
			return true
		}
	}
	return false
}

func (w *world) pod(a netip.Addr) *corev1.Pod {
	for _, list := range [][]*corev1.Pod{w.own, w.other} {
		for _, p := range list {
			if slices.Contains(ips(p), a) {
				return p
			}
		}
	}
	return nil
}

// naive follows the documentation of the API word by word.
func (w *world) naive(from, to netip.Addr, port uint16, protocol corev1.Protocol) bool {
	if from == to {
		return true
	}
	if w.pod(from) != nil && !isNodeAddress(to) && !w.naiveDirection(from, to, to, port, protocol, egress) {
		return false
	}
	if w.pod(to) == nil || isNodeAddress(from) && w.isOwn(to) {
		return true
	}
	return w.naiveDirection(to, from, to, port, protocol, ingress)
}

func (w *world) naiveDirection(subject, peer, dest netip.Addr, port uint16, protocol corev1.Protocol, d direction) bool {
	pod, isolated := w.pod(subject), false
	for _, p := range w.policies {
		if p.Namespace != pod.Namespace || !selects(&p.Spec.PodSelector, pod.Labels) || !hasType(p, d) {
			continue
		}
		isolated = true
		for _, r := range p.Spec.Ingress {
			if d == ingress && w.hasPeer(p.Namespace, r.From, peer) && w.hasPort(r.Ports, dest, port, protocol) {
				return true
			}
		}
		for _, r := range p.Spec.Egress {
			if d == egress && w.hasPeer(p.Namespace, r.To, peer) && w.hasPort(r.Ports, dest, port, protocol) {
				return true
			}
		}
	}
	return !isolated
}

func hasType(p *networkingv1.NetworkPolicy, d direction) bool {
	for _, t := range p.Spec.PolicyTypes {
		if (t == networkingv1.PolicyTypeIngress) == (d == ingress) {
			return true
		}
	}
	return false
}

func selects(s *metav1.LabelSelector, l map[string]string) bool {
	x, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && x.Matches(labels.Set(l))
}

func (w *world) hasPeer(namespace string, peers []networkingv1.NetworkPolicyPeer, a netip.Addr) bool {
	for _, p := range peers {
		if p.IPBlock != nil {
			in := netip.MustParsePrefix(p.IPBlock.CIDR).Contains(a)
			for _, x := range p.IPBlock.Except {
				in = in && !netip.MustParsePrefix(x).Contains(a)
			}
			if in {
				return true
			}
			continue
		}
		pod := w.pod(a)
		if pod == nil {
			continue
		}
		inNamespace := pod.Namespace == namespace
		if p.NamespaceSelector != nil {
			inNamespace = selects(p.NamespaceSelector, w.namespaces[pod.Namespace])
		}
		if inNamespace && (p.PodSelector == nil || selects(p.PodSelector, pod.Labels)) {
			return true
		}
	}
	return len(peers) == 0
}

func (w *world) hasPort(ports []networkingv1.NetworkPolicyPort, dest netip.Addr, port uint16, protocol corev1.Protocol) bool {
	for _, p := range ports {
		if *p.Protocol != protocol {
			continue
		}
		switch {
		case p.Port == nil:
			return true
		case p.Port.Type == intstr.String:
			pod := w.pod(dest)
			if pod != nil && PodOf(pod).number(p.Port.StrVal, mustNumber(protocol)) == port {
				return true
			}
		case p.EndPort != nil && port >= uint16(p.Port.IntVal) && port <= uint16(*p.EndPort), int32(port) == p.Port.IntVal:
			return true
		}
	}
	return len(ports) == 0
}

func mustNumber(p corev1.Protocol) uint8 {
	n, _ := protocolNumber(p)
	return n
}

func drawWorld(t *rapid.T) *world {
	w := &world{namespaces: map[string]map[string]string{}}
	names := []string{"a", "b"}
	for _, n := range names {
		w.namespaces[n] = drawLabels(t)
	}
	for i := range rapid.IntRange(2, 6).Draw(t, "pods") {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(fmt.Sprint("u", i)), Namespace: rapid.SampledFrom(names).Draw(t, "namespace"), Labels: drawLabels(t)}}
		p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: rapid.SampledFrom([]int32{80, 90}).Draw(t, "web")}}}}
		if rapid.Bool().Draw(t, "own") {
			setIPs(p, fmt.Sprintf("10.42.0.%d", i+2), fmt.Sprintf("fd00:42::%d", i+2))
			w.own = append(w.own, p)
		} else {
			setIPs(p, fmt.Sprintf("10.42.1.%d", i+2), fmt.Sprintf("fd00:42:0:1::%d", i+2))
			w.other = append(w.other, p)
		}
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "policies") {
		p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("p", i), Namespace: rapid.SampledFrom(names).Draw(t, "namespace")}}
		p.Spec.PodSelector = *drawSelector(t)
		p.Spec.PolicyTypes = rapid.SliceOfNDistinct(rapid.SampledFrom([]networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}), 1, 2, rapid.ID).Draw(t, "types")
		for range rapid.IntRange(0, 2).Draw(t, "ingress") {
			p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: drawPeers(t), Ports: drawPorts(t)})
		}
		for range rapid.IntRange(0, 2).Draw(t, "egress") {
			p.Spec.Egress = append(p.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: drawPeers(t), Ports: drawPorts(t)})
		}
		w.policies = append(w.policies, p)
	}
	return w
}

func drawLabels(t *rapid.T) map[string]string {
	return map[string]string{"app": rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "label")}
}

func drawSelector(t *rapid.T) *metav1.LabelSelector {
	return rapid.SampledFrom([]*metav1.LabelSelector{{}, {MatchLabels: map[string]string{"app": "x"}},
		{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"x"}}}}}).Draw(t, "selector")
}

func drawPeers(t *rapid.T) (out []networkingv1.NetworkPolicyPeer) {
	for range rapid.IntRange(0, 2).Draw(t, "peers") {
		out = append(out, rapid.SampledFrom([]networkingv1.NetworkPolicyPeer{
			{PodSelector: drawSelector(t)}, {NamespaceSelector: drawSelector(t)}, {PodSelector: drawSelector(t), NamespaceSelector: drawSelector(t)},
			{IPBlock: &networkingv1.IPBlock{CIDR: "198.51.100.0/24", Except: []string{"198.51.100.128/25"}}},
			{IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0", Except: []string{"10.42.1.0/24", "198.51.100.0/25", "10.42.1.4/30"}}},
			{IPBlock: &networkingv1.IPBlock{CIDR: "2001:db8::/64", Except: []string{"2001:db8::8000/113"}}},
			{IPBlock: &networkingv1.IPBlock{CIDR: "::/0", Except: []string{"fd00:42:0:1::/64", "2001:db8::/113", "fd00:42:0:1::4/126"}}},
		}).Draw(t, "peer"))
	}
	return out
}

func drawPorts(t *rapid.T) (out []networkingv1.NetworkPolicyPort) {
	for range rapid.IntRange(0, 2).Draw(t, "ports") {
		p := rapid.SampledFrom([]networkingv1.NetworkPolicyPort{{}, {Port: intOf(80)}, {Port: intOf(80), EndPort: ptr(int32(90))}, {Port: nameOf("web")}, {Port: nameOf("none")}}).Draw(t, "port")
		p.Protocol = ptr(rapid.SampledFrom([]corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}).Draw(t, "protocol"))
		out = append(out, p)
	}
	return out
}

func ptr[T any](v T) *T { return &v }

func intOf(n int) *intstr.IntOrString     { return ptr(intstr.FromInt32(int32(n))) }
func nameOf(s string) *intstr.IntOrString { return ptr(intstr.FromString(s)) }
