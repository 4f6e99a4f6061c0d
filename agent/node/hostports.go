package node

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent"
	"github.com/peapod-sh/peapod/netproxy"
)

// withHostPorts adds to the proxy's table what the node forwards to its own pods. A host port is a node port of a service
// that has nothing else and one endpoint. The table of names does not have them.
func withHostPorts(t *netproxy.Table, pods []*corev1.Pod) *netproxy.Table {
	var more []netproxy.Service
	for _, p := range pods {
		ips := podIPs(p)
		if len(ips) == 0 || !agent.HasHostPorts(p) || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		more = append(more, hostPorts(t.NodeName, p, ips)...)
	}
	if len(more) == 0 {
		return t
	}
	out := *t
	out.Services = append(slices.Clone(t.Services), more...)
	return &out
}

// podIPs are a pod's addresses, one of each family.
func podIPs(p *corev1.Pod) (out []netip.Addr) {
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// hostPorts has one service a port, since a pod may ask for one port at several of the node's addresses.
func hostPorts(node string, p *corev1.Pod, ips []netip.Addr) (out []netproxy.Service) {
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			for _, port := range list[i].Ports {
				protocol, known := map[corev1.Protocol]netproxy.Protocol{"": netproxy.TCP, corev1.ProtocolTCP: netproxy.TCP, corev1.ProtocolUDP: netproxy.UDP}[port.Protocol]
				if port.HostPort == 0 || !known {
					continue
				}
				at, err := netip.ParseAddr(port.HostIP)
				if err != nil || at.IsUnspecified() {
					at = netip.Addr{}
				}
				var to []netproxy.Endpoint
				for _, ip := range ips {
					to = append(to, netproxy.Endpoint{Address: netip.AddrPortFrom(ip, uint16(port.ContainerPort)), Node: node, Ready: true, Serving: true})
				}
				out = append(out, netproxy.Service{
					Namespace: p.Namespace, Name: fmt.Sprintf("host port %d of pod %s", len(out), p.UID),
					Ports: []netproxy.Port{{Protocol: protocol, Port: uint16(port.HostPort), NodePort: uint16(port.HostPort), NodeIP: at, Endpoints: to}},
				})
			}
		}
	}
	return out
}
