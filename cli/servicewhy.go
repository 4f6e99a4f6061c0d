package cli

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/peapod-sh/peapod/netproxy"
)

// endpointRows are the endpoints of a port by address, then the service's pods that are in no slice.
func (t *serviceTrace) endpointRows(p *corev1.ServicePort, trace *netproxy.PortTrace) [][]string {
	var rows [][]string
	shown := map[string]bool{}
	for i := range t.slices {
		s := &t.slices[i]
		number, ok := slicePort(s, p)
		for j := range s.Endpoints {
			e := &s.Endpoints[j]
			if !ok || len(e.Addresses) == 0 {
				continue
			}
			pod := t.podOf(e)
			if pod != nil {
				shown[pod.Name] = true
			}
			rows = append(rows, t.endpointRow(net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(number))), e, pod, trace))
		}
	}
	slices.SortFunc(rows, func(a, b []string) int { return cmp.Compare(a[0], b[0]) })
	for i := range t.pods {
		if pod := &t.pods[i]; !shown[pod.Name] {
			rows = append(rows, []string{cmp.Or(pod.Status.PodIP, "-"), pod.Name, cmp.Or(pod.Spec.NodeName, "-"), "no", "-", whyNoEndpoint(pod, p)})
		}
	}
	return rows
}

func slicePort(s *discoveryv1.EndpointSlice, p *corev1.ServicePort) (int32, bool) {
	for _, x := range s.Ports {
		if x.Port != nil && (x.Name == nil && p.Name == "" || x.Name != nil && *x.Name == p.Name) {
			return *x.Port, true
		}
	}
	return 0, false
}

func (t *serviceTrace) podOf(e *discoveryv1.Endpoint) *corev1.Pod {
	for i := range t.pods {
		if e.TargetRef != nil && t.pods[i].UID == e.TargetRef.UID {
			return &t.pods[i]
		}
	}
	return nil
}

func (t *serviceTrace) endpointRow(address string, e *discoveryv1.Endpoint, pod *corev1.Pod, trace *netproxy.PortTrace) []string {
	name, node := "-", "-"
	if e.TargetRef != nil {
		name = e.TargetRef.Name
	}
	if e.NodeName != nil {
		node = *e.NodeName
	}
	i := slices.IndexFunc(trace.Backends, func(b netproxy.BackendTrace) bool { return b.Address.String() == address })
	if i < 0 {
		return []string{address, name, node, "no", "-", t.whyOut(e, pod, node)}
	}
	b := &trace.Backends[i]
	return []string{address, name, node, t.takes(b), strconv.FormatInt(b.Active, 10), whyIn(e, b)}
}

// takes says from where an endpoint gets new connections. A service without node ports has only one way to it.
func (t *serviceTrace) takes(b *netproxy.BackendTrace) string {
	switch {
	case t.headless():
		return "by name"
	case b.Internal && b.External, b.Internal && t.service.Spec.Type == corev1.ServiceTypeClusterIP:
		return "yes"
	case b.Internal:
		return "cluster only"
	}
	return "node ports only"
}

func whyIn(e *discoveryv1.Endpoint, b *netproxy.BackendTrace) string {
	switch {
	case b.Avoided:
		return fmt.Sprintf("a connect failed a moment ago (%d in all): others come first", b.Failures)
	case e.Conditions.Terminating != nil && *e.Conditions.Terminating:
		return "it is about to end, and no other one is ready"
	}
	return ""
}

// whyOut says why an endpoint takes no new connections on the node in question.
func (t *serviceTrace) whyOut(e *discoveryv1.Endpoint, pod *corev1.Pod, node string) string {
	c, spec := &e.Conditions, &t.service.Spec
	local := spec.InternalTrafficPolicy != nil && *spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal
	switch {
	case c.Terminating != nil && *c.Terminating:
		return "it is about to end"
	case c.Ready != nil && !*c.Ready && pod != nil:
		return "not ready: " + whyNotReady(pod)
	case c.Ready != nil && !*c.Ready:
		return "not ready"
	case local && node != t.at.Node:
		return "internalTrafficPolicy Local: it is on another node"
	}
	return "the node's proxy does not know of it yet"
}

// whyNoEndpoint says why a pod of the service is in none of its slices.
func whyNoEndpoint(p *corev1.Pod, port *corev1.ServicePort) string {
	switch {
	case p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed:
		return "it has ended: " + string(p.Status.Phase)
	case p.DeletionTimestamp != nil:
		return "it is about to end"
	case p.Status.PodIP == "":
		return "it has no address yet: " + whyNotReady(p)
	case port.TargetPort.StrVal != "":
		return fmt.Sprintf("it has no port named %q", port.TargetPort.StrVal)
	}
	return "its address is new, or of another family"
}

// whyNotReady names what a pod lacks: a node, a container's start, a probe, a readiness gate.
func whyNotReady(p *corev1.Pod) string {
	if c := podCondition(p, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionFalse {
		return "it has no node: " + c.Message
	}
	for i := range p.Status.ContainerStatuses {
		s := &p.Status.ContainerStatuses[i]
		if !s.Ready {
			return "container " + s.Name + " " + whyContainer(p, s)
		}
	}
	for _, g := range p.Spec.ReadinessGates {
		if c := podCondition(p, g.ConditionType); c == nil || c.Status != corev1.ConditionTrue {
			return "readiness gate " + string(g.ConditionType) + " is not true"
		}
	}
	if c := podCondition(p, corev1.PodReady); c != nil && c.Message != "" {
		return c.Message
	}
	return "its containers have not started"
}

func whyContainer(p *corev1.Pod, s *corev1.ContainerStatus) string {
	switch {
	case s.State.Waiting != nil:
		return strings.TrimSuffix("waits: "+s.State.Waiting.Reason+": "+s.State.Waiting.Message, ": ")
	case s.State.Terminated != nil:
		return fmt.Sprintf("has ended with exit code %d", s.State.Terminated.ExitCode)
	}
	i := slices.IndexFunc(p.Spec.Containers, func(c corev1.Container) bool { return c.Name == s.Name })
	switch {
	case i >= 0 && p.Spec.Containers[i].StartupProbe != nil && (s.Started == nil || !*s.Started):
		return "has not passed its startup probe (" + probed(p.Spec.Containers[i].StartupProbe) + ")"
	case i >= 0 && p.Spec.Containers[i].ReadinessProbe != nil:
		return "fails its readiness probe (" + probed(p.Spec.Containers[i].ReadinessProbe) + ")"
	}
	return "is not ready"
}

// probed says what a probe asks.
func probed(p *corev1.Probe) string {
	switch {
	case p.HTTPGet != nil:
		return "http-get :" + p.HTTPGet.Port.String() + p.HTTPGet.Path
	case p.TCPSocket != nil:
		return "tcp-socket :" + p.TCPSocket.Port.String()
	case p.GRPC != nil:
		return fmt.Sprintf("grpc :%d", p.GRPC.Port)
	case p.Exec != nil:
		return "exec " + strings.Join(p.Exec.Command, " ")
	}
	return "of nothing"
}

func podCondition(p *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == kind {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}
