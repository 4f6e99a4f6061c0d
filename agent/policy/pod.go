package policy

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/agent/network"
)

// Pod is what policies ask of a pod.
type Pod struct {
	UID       types.UID
	Namespace string
	Labels    map[string]string
	Address   netip.Addr // the zero value if it has none that is its own
	Second    netip.Addr // of the other family; the zero value if it has none
	Ports     []Port
}

// Port is a port of a pod that has a name.
type Port struct {
	Name     string
	Protocol uint8 // of IP
	Number   uint16
}

// PodOf reads a pod. One on the node's own network has no address that policies could be about, nor has one that has ended.
func PodOf(p *corev1.Pod) *Pod {
	out := &Pod{UID: p.UID, Namespace: p.Namespace, Labels: p.Labels}
	if p.Spec.HostNetwork || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return out
	}
	if a, err := netip.ParseAddr(p.Status.PodIP); err == nil && a.Is4() {
		out.Address = a
	}
	if len(p.Status.PodIPs) > 1 {
		out.Second, _ = netip.ParseAddr(p.Status.PodIPs[1].IP)
	}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			for _, port := range list[i].Ports {
				if n, ok := protocolNumber(port.Protocol); ok && port.Name != "" {
					out.Ports = append(out.Ports, Port{port.Name, n, uint16(port.ContainerPort)})
				}
			}
		}
	}
	return out
}

// addresses are those that the pod has.
func (p *Pod) addresses() (out []netip.Addr) {
	for _, a := range []netip.Addr{p.Address, p.Second} {
		if a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

func (p *Pod) ranges() (out []network.AddrRange) {
	for _, a := range p.addresses() {
		out = append(out, network.AddrRange{First: a, Last: a})
	}
	return out
}

// number is that of the named port; 0 if the pod has none of that name.
func (p *Pod) number(name string, protocol uint8) uint16 {
	for _, port := range p.Ports {
		if port.Name == name && port.Protocol == protocol {
			return port.Number
		}
	}
	return 0
}

// protocolNumber is the number of a protocol in IP packets.
func protocolNumber(p corev1.Protocol) (uint8, bool) {
	switch p {
	case corev1.ProtocolTCP, "":
		return 6, true
	case corev1.ProtocolUDP:
		return 17, true
	case corev1.ProtocolSCTP:
		return 132, true
	}
	return 0, false
}
