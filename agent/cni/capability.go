package cni

import (
	"math"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/libcni"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// What a plugin gets if its configuration lists the capability, in the forms of the conventions of the CNI project.
const (
	capPorts     = "portMappings"
	capBandwidth = "bandwidth"
	capRanges    = "ipRanges"

	// capSpace keeps with an attachment which network namespace it was made in. No plugin asks for it.
	capSpace = "peapod.namespace"
)

type portMapping struct {
	HostPort      int32  `json:"hostPort"`
	ContainerPort int32  `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP,omitempty"`
}

// bandwidth is in bits a second; the bursts are in bits.
type bandwidth struct {
	IngressRate  uint64 `json:"ingressRate,omitempty"`
	IngressBurst uint64 `json:"ingressBurst,omitempty"`
	EgressRate   uint64 `json:"egressRate,omitempty"`
	EgressBurst  uint64 `json:"egressBurst,omitempty"`
}

type ipRange struct {
	Subnet string `json:"subnet"`
}

// runtimeConf is what the plugins hear of a pod.
func runtimeConf(pod *corev1.Pod, netns, space string, cidrs []netip.Prefix) *libcni.RuntimeConf {
	rt := &libcni.RuntimeConf{ContainerID: string(pod.UID), NetNS: netns, IfName: podLink, CapabilityArgs: map[string]any{capSpace: space},
		Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", pod.Namespace}, {"K8S_POD_NAME", pod.Name},
			{"K8S_POD_INFRA_CONTAINER_ID", string(pod.UID)}, {"K8S_POD_UID", string(pod.UID)}}}
	if m := mappings(pod); len(m) > 0 {
		rt.CapabilityArgs[capPorts] = m
	}
	if b, any := bandwidthOf(pod); any {
		rt.CapabilityArgs[capBandwidth] = b
	}
	var ranges [][]ipRange
	for _, c := range cidrs {
		ranges = append(ranges, []ipRange{{c.String()}}) // of each set the pod gets one address
	}
	if len(ranges) > 0 {
		rt.CapabilityArgs[capRanges] = ranges
	}
	return rt
}

func mappings(pod *corev1.Pod) (out []portMapping) {
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, p := range c.Ports {
			if p.HostPort == 0 {
				continue
			}
			protocol := map[corev1.Protocol]string{corev1.ProtocolUDP: "udp", corev1.ProtocolSCTP: "sctp"}[p.Protocol]
			if protocol == "" {
				protocol = "tcp"
			}
			out = append(out, portMapping{p.HostPort, p.ContainerPort, protocol, p.HostIP})
		}
	}
	return out
}

// bandwidthOf reads the annotations. What is no quantity is told by the agent.
func bandwidthOf(pod *corev1.Pod) (b bandwidth, any bool) {
	read := func(annotation string) (rate, burst uint64) {
		q, err := resource.ParseQuantity(pod.Annotations[annotation])
		if err != nil || q.Value() <= 0 {
			return 0, 0
		}
		return uint64(q.Value()), math.MaxInt32 // as other runtimes: the plugin wants one
	}
	b.IngressRate, b.IngressBurst = read("kubernetes.io/ingress-bandwidth")
	b.EgressRate, b.EgressBurst = read("kubernetes.io/egress-bandwidth")
	return b, b.IngressRate > 0 || b.EgressRate > 0
}
