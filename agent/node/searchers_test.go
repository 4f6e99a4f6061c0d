package node

import (
	"maps"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestSearchers(t *testing.T) {
	pod := func(ip string, edit func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{Spec: corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst}, Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: ip}, {IP: "fd00::" + ip[len(ip)-1:]}}}}
		p.Namespace = "ns"
		if edit != nil {
			edit(p)
		}
		return p
	}
	got := searchers([]*corev1.Pod{
		pod("10.1.0.1", nil),
		pod("10.1.0.2", func(p *corev1.Pod) { p.Spec.HostNetwork = true }),
		pod("10.1.0.3", func(p *corev1.Pod) { p.Spec.DNSPolicy = corev1.DNSDefault }),
		pod("10.1.0.4", func(p *corev1.Pod) { p.Spec.DNSConfig = &corev1.PodDNSConfig{Searches: []string{"corp.example"}} }),
		pod("10.1.0.5", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }),
		pod("10.1.0.6", func(p *corev1.Pod) { p.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.1"}} }),
	})
	want := map[netip.Addr]string{}
	for _, a := range []string{"10.1.0.1", "fd00::1", "10.1.0.6", "fd00::6"} {
		want[netip.MustParseAddr(a)] = "ns"
	}
	if !maps.Equal(got, want) {
		t.Error(got)
	}
}
