package cli

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/peapod-sh/peapod/agent/services"
	"github.com/peapod-sh/peapod/netproxy"
)

// tracedPod has one container, which runs and is ready; edit makes it another.
func tracedPod(name string, edit func(*corev1.Pod)) corev1.Pod {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)},
		Spec:   corev1.PodSpec{NodeName: "n2", Containers: []corev1.Container{{Name: "c"}}},
		Status: corev1.PodStatus{PodIP: "10.42.0.7", ContainerStatuses: []corev1.ContainerStatus{{Name: "c", Ready: true}}}}
	if edit != nil {
		edit(&p)
	}
	return p
}

func TestWhyNoEndpoint(t *testing.T) {
	running := func(p *corev1.Pod) { p.Status.ContainerStatuses[0] = corev1.ContainerStatus{Name: "c"} }
	for want, edit := range map[string]func(*corev1.Pod){
		`it has no port named "http"`: nil,
		"it has ended: Failed":        func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed },
		"it is about to end":          func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} },
		"it has no address yet: it has no node: 0/3 nodes are available": func(p *corev1.Pod) {
			p.Status.PodIP = ""
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes are available"}}
		},
		"it has no address yet: container c waits: ImagePullBackOff: no such image": func(p *corev1.Pod) {
			p.Status.PodIP = ""
			p.Status.ContainerStatuses[0] = corev1.ContainerStatus{Name: "c",
				State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "no such image"}}}
		},
	} {
		p := tracedPod("p", edit)
		if got := whyNoEndpoint(&p, &corev1.ServicePort{TargetPort: intstr.FromString("http")}); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for want, edit := range map[string]func(*corev1.Pod){
		"container c fails its readiness probe (http-get :8080/readyz)": func(p *corev1.Pod) {
			running(p)
			p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
				HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(8080), Path: "/readyz"}}}
		},
		"container c has not passed its startup probe (exec true x)": func(p *corev1.Pod) {
			running(p)
			p.Spec.Containers[0].StartupProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true", "x"}}}}
		},
		"container c has ended with exit code 3": func(p *corev1.Pod) {
			running(p)
			p.Status.ContainerStatuses[0].State.Terminated = &corev1.ContainerStateTerminated{ExitCode: 3}
		},
		"readiness gate example.com/lb is not true": func(p *corev1.Pod) {
			p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.com/lb"}}
		},
	} {
		p := tracedPod("p", edit)
		if got := whyNotReady(&p); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// traced is a service with an endpoint for every case, as node n1 sees it.
func traced() *serviceTrace {
	yes, no, n1, n2 := true, false, "n1", "n2"
	ready := discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no}
	at := func(address, pod string, node *string, c discoveryv1.EndpointConditions) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{Addresses: []string{address}, NodeName: node, Conditions: c, TargetRef: &corev1.ObjectReference{Name: pod, UID: types.UID(pod)}}
	}
	port, name := int32(8080), ""
	trace := &services.Trace{Node: "n1", Known: 12, InForce: 12, Ports: []netproxy.PortTrace{{
		Name: netproxy.TargetName{Namespace: "default", Name: "web", Port: 80}, Listening: []netip.AddrPort{netip.MustParseAddrPort("10.43.0.7:80")},
		Backends: []netproxy.BackendTrace{{Address: netip.MustParseAddrPort("10.42.0.1:8080"), Internal: true, External: true, Active: 4},
			{Address: netip.MustParseAddrPort("10.42.0.2:8080"), External: true, Avoided: true, Failures: 2}}}}}
	local := corev1.ServiceInternalTrafficPolicyLocal
	return &serviceTrace{
		service: &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort,
			InternalTrafficPolicy: &local, Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}}},
		pods: []corev1.Pod{tracedPod("pending", func(p *corev1.Pod) { p.Status.PodIP, p.Spec.NodeName = "", "" })},
		slices: []discoveryv1.EndpointSlice{{Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}}, Endpoints: []discoveryv1.Endpoint{
			at("10.42.0.1", "good", &n1, ready), at("10.42.0.2", "shaky", &n1, ready), at("10.42.0.3", "far", &n2, ready), at("10.42.0.4", "late", &n1, ready),
			at("10.42.0.5", "ending", &n1, discoveryv1.EndpointConditions{Ready: &no, Serving: &yes, Terminating: &yes}),
			at("10.42.0.6", "unready", &n1, discoveryv1.EndpointConditions{Ready: &no, Serving: &no, Terminating: &no})}}},
		nodes: []nodeTrace{{name: "n1", trace: trace}, {name: "n2", trace: &services.Trace{Node: "n2", Known: 12, InForce: 9}}},
		at:    trace,
	}
}

func TestServiceTrace(t *testing.T) {
	var out bytes.Buffer
	traced().print(&out)
	for _, want := range []string{
		"open 10.43.0.7:80",
		"10.42.0.1:8080 good n1 yes 4",
		"10.42.0.2:8080 shaky n1 node ports only 0 a connect failed a moment ago (2 in all): others come first",
		"10.42.0.3:8080 far n2 no - internalTrafficPolicy Local: it is on another node",
		"10.42.0.4:8080 late n1 no - the node's proxy does not know of it yet",
		"10.42.0.5:8080 ending n1 no - it is about to end",
		"10.42.0.6:8080 unready n1 no - not ready",
		"- pending - no - it has no address yet: its containers have not started",
		"n1 12 -",
		"n2 9 3 revisions",
	} {
		if !strings.Contains(squeezed(out.String()), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// squeezed has one space where there were many.
func squeezed(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	return b.String()
}
