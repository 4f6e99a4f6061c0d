package services

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/netproxy"
)

func ptr[T any](v T) *T { return &v }

func service(edit func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeNodePort, ClusterIP: "10.43.0.7", ClusterIPs: []string{"10.43.0.7"},
		Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, NodePort: 30080}}}}
	if edit != nil {
		edit(s)
	}
	return s
}

func slice(name string, port int32, addresses ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4,
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		Ports:      []discoveryv1.EndpointPort{{Name: ptr("http"), Protocol: ptr(corev1.ProtocolTCP), Port: ptr(port)}}}
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}, NodeName: ptr("n1"),
			Conditions: discoveryv1.EndpointConditions{Ready: ptr(true)}})
	}
	return s
}

func newModel() *Model {
	return New("n1", "cluster.local", []netip.Addr{netip.MustParseAddr("192.0.2.1")})
}

func endpoint(at string) netproxy.Endpoint {
	return netproxy.Endpoint{Address: netip.MustParseAddrPort(at), Node: "n1", Ready: true, Serving: true}
}

var ignoreAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
var ignoreAddrPort = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

func TestTable(t *testing.T) {
	m := newModel()
	m.PutService(service(nil))
	m.PutSlice(slice("web-1", 8080, "10.42.0.3", "10.42.0.2"))
	m.PutSlice(slice("web-2", 9090, "10.42.1.1"))
	want := []netproxy.Service{{Namespace: "default", Name: "web", VIPs: []netip.Addr{netip.MustParseAddr("10.43.0.7")},
		Ports: []netproxy.Port{{Name: "http", Port: 80, NodePort: 30080,
			Endpoints: []netproxy.Endpoint{endpoint("10.42.0.2:8080"), endpoint("10.42.0.3:8080"), endpoint("10.42.1.1:9090")}}}}}
	if diff := cmp.Diff(want, m.Table().Services, ignoreAddr, ignoreAddrPort); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A pod on its way from one slice to another is in both for a moment, and takes connections if either says so.
func TestEndpointInTwoSlices(t *testing.T) {
	m := newModel()
	m.PutService(service(nil))
	for i, unready := range []string{"web-1", "web-3", "web-4"} {
		s := slice(unready, 8080, "10.42.0.3")
		s.Endpoints[0].Conditions = discoveryv1.EndpointConditions{Ready: ptr(false), Serving: ptr(i == 1)}
		m.PutSlice(s)
	}
	m.PutSlice(slice("web-2", 8080, "10.42.0.3"))
	for range 20 { // for maps are read in any order
		if diff := cmp.Diff([]netproxy.Endpoint{endpoint("10.42.0.3:8080")}, m.Table().Services[0].Ports[0].Endpoints, ignoreAddr, ignoreAddrPort); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	}
}

func TestKindsOfServices(t *testing.T) {
	for _, c := range []struct {
		name  string
		edit  func(*corev1.Service)
		check func(netproxy.Service) bool
	}{
		{"headless", func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "None", []string{"None"} },
			func(s netproxy.Service) bool { return s.Headless && len(s.VIPs) == 0 }},
		{"external name", func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "example.com"
		}, func(s netproxy.Service) bool { return s.ExternalName == "example.com" }},
		{"external name of another type is nothing", func(s *corev1.Service) { s.Spec.ExternalName = "example.com" },
			func(s netproxy.Service) bool { return s.ExternalName == "" }},
		{"default affinity", func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP },
			func(s netproxy.Service) bool { return s.AffinityTimeout == 3*time.Hour }},
		{"affinity", func(s *corev1.Service) {
			s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
			s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr(int32(5))}}
		}, func(s netproxy.Service) bool { return s.AffinityTimeout == 5*time.Second }},
		{"local", func(s *corev1.Service) {
			s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
			s.Spec.InternalTrafficPolicy = ptr(corev1.ServiceInternalTrafficPolicyLocal)
		}, func(s netproxy.Service) bool { return s.ExternalLocal && s.InternalLocal }},
		{"PROXY protocol", func(s *corev1.Service) { s.Annotations = map[string]string{"peapod.sh/proxy-protocol": "v2"} },
			func(s netproxy.Service) bool { return s.ProxyHeader }},
		{"an unknown PROXY protocol", func(s *corev1.Service) { s.Annotations = map[string]string{"peapod.sh/proxy-protocol": "v1"} },
			func(s netproxy.Service) bool { return !s.ProxyHeader }},
		{"a protocol that is not proxied", func(s *corev1.Service) { s.Spec.Ports[0].Protocol = corev1.ProtocolSCTP },
			func(s netproxy.Service) bool { return len(s.Ports) == 0 }},
	} {
		m := newModel()
		m.PutService(service(c.edit))
		if got := m.Table().Services[0]; !c.check(got) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestConditions(t *testing.T) {
	m := newModel()
	m.PutService(service(nil))
	s := slice("web-1", 8080, "10.42.0.2", "10.42.0.3")
	s.Endpoints[0].Conditions = discoveryv1.EndpointConditions{} // unset is ready, by the API's definition
	s.Endpoints[1].Conditions = discoveryv1.EndpointConditions{Ready: ptr(false), Serving: ptr(true), Terminating: ptr(true)}
	m.PutSlice(s)
	got := m.Table().Services[0].Ports[0].Endpoints
	if !got[0].Ready || !got[0].Serving || got[0].Terminating {
		t.Errorf("unset conditions read as %+v", got[0])
	}
	if got[1].Ready || !got[1].Serving || !got[1].Terminating {
		t.Errorf("a draining endpoint reads as %+v", got[1])
	}
}

func TestDeleteAndMove(t *testing.T) {
	m := newModel()
	m.PutService(service(nil))
	m.PutSlice(slice("a", 1, "10.42.0.2"))
	m.PutSlice(slice("b", 1, "10.42.0.3"))
	m.DeleteSlice("default", "a")
	moved := slice("b", 1, "10.42.0.3")
	moved.Labels[discoveryv1.LabelServiceName] = "other"
	m.PutSlice(moved)
	if got := m.Table().Services[0].Ports[0].Endpoints; len(got) != 0 {
		t.Errorf("endpoints left: %v", got)
	}
	m.DeleteService("default", "web")
	if n := len(m.Table().Services); n != 0 {
		t.Errorf("%d services left", n)
	}
}

// A watch that starts over shows the old state until it has told everything, and then only the new one.
func TestStartingOver(t *testing.T) {
	m := newModel()
	m.PutService(service(nil))
	m.PutSlice(slice("a", 1, "10.42.0.2"))
	m.Begin()
	m.PutSlice(slice("b", 1, "10.42.0.3"))
	if got := m.Table().Services; len(got) != 1 || len(got[0].Ports[0].Endpoints) != 1 || got[0].Ports[0].Endpoints[0].Address.String() != "10.42.0.2:1" {
		t.Errorf("while starting over: %+v", got)
	}
	m.PutService(service(nil))
	m.Synced(1)
	if got := m.Table().Services[0].Ports[0].Endpoints; len(got) != 1 || got[0].Address.String() != "10.42.0.3:1" {
		t.Errorf("after it: %+v", got)
	}
	m.Begin()
	m.Synced(1)
	if n := len(m.OfNamespace("default")); n != 0 {
		t.Errorf("%d services after a watch that told of none", n)
	}
}

// A headless service without ports has endpoints for its names.
func TestHeadlessWithoutPorts(t *testing.T) {
	m := newModel()
	m.PutService(service(func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ClusterIP, s.Spec.ClusterIPs, s.Spec.Ports = corev1.ServiceTypeClusterIP, corev1.ClusterIPNone, []string{corev1.ClusterIPNone}, nil
	}))
	parts := slice("web-1", 0, "10.1.0.1", "10.1.0.2")
	parts.Ports = nil
	parts.Endpoints[1].Hostname = ptr("pet")
	m.PutSlice(parts)
	pet := endpoint("10.1.0.2:0")
	pet.Hostname = "pet"
	got := m.Table().Services[0]
	if diff := cmp.Diff([]netproxy.Endpoint{endpoint("10.1.0.1:0"), pet}, got.Portless, ignoreAddr, ignoreAddrPort); diff != "" || !got.Headless || len(got.VIPs) != 0 {
		t.Error(diff, got)
	}
}
