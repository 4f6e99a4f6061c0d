package node

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/netproxy"
)

func TestHostPorts(t *testing.T) {
	pod := func(name, ip string, phase corev1.PodPhase, ports ...corev1.ContainerPort) *corev1.Pod {
		p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Ports: ports}}}, Status: corev1.PodStatus{PodIP: ip, Phase: phase}}
		for _, a := range strings.Fields(ip) {
			p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: a})
		}
		p.UID, p.Namespace, p.Name = types.UID("uid-"+name), "ns", name
		return p
	}
	web := corev1.ContainerPort{HostPort: 8080, ContainerPort: 80}
	at := corev1.ContainerPort{HostPort: 8080, ContainerPort: 81, HostIP: "10.0.0.1", Protocol: corev1.ProtocolUDP}
	table := &netproxy.Table{NodeName: "n", Services: []netproxy.Service{{Name: "s"}}}
	got := withHostPorts(table, []*corev1.Pod{
		pod("a", "10.1.0.1 fd00::1", corev1.PodRunning, web, at, corev1.ContainerPort{ContainerPort: 5}, corev1.ContainerPort{HostPort: 9, ContainerPort: 9, Protocol: corev1.ProtocolSCTP}),
		pod("ended", "10.1.0.2", corev1.PodFailed, web), pod("young", "", corev1.PodPending, web)})
	if len(got.Services) != 3 || len(table.Services) != 1 {
		t.Fatalf("%+v", got.Services)
	}
	a, b := got.Services[1].Ports[0], got.Services[2].Ports[0]
	if a.NodePort != 8080 || a.NodeIP.IsValid() || a.Protocol != netproxy.TCP || a.Endpoints[0].Address != netip.MustParseAddrPort("10.1.0.1:80") || !a.Endpoints[0].Ready || len(a.Endpoints) != 2 || a.Endpoints[1].Address != netip.MustParseAddrPort("[fd00::1]:80") {
		t.Errorf("%+v", a)
	}
	if b.NodeIP != netip.MustParseAddr("10.0.0.1") || b.Protocol != netproxy.UDP || got.Services[1].Name == got.Services[2].Name {
		t.Errorf("%+v", b)
	}
	host := pod("h", "10.1.0.1", corev1.PodRunning, web)
	host.Spec.HostNetwork = true
	if same := withHostPorts(table, []*corev1.Pod{host}); same != table {
		t.Errorf("%+v", same)
	}
}
