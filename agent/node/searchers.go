package node

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// searchers are the namespaces of the pods whose search list is the usual one, by their addresses. A pod with a list of its
// own walks it itself, and one in the machine's network has no address of its own.
func searchers(pods []*corev1.Pod) map[netip.Addr]string {
	out := map[netip.Addr]string{}
	for _, p := range pods {
		if p.Spec.HostNetwork || p.Spec.DNSPolicy != corev1.DNSClusterFirst && p.Spec.DNSPolicy != "" || p.Spec.DNSConfig != nil && len(p.Spec.DNSConfig.Searches) > 0 ||
			p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		for _, a := range podIPs(p) {
			out[a] = p.Namespace
		}
	}
	return out
}
