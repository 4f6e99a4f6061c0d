package services

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/netproxy"
)

func machineAt(name, zone, ip string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: zone}},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: ip}}}}
}

func balancer(node string, edit func(*corev1.Service)) *corev1.Service {
	return service(func(s *corev1.Service) {
		s.Spec.Type, s.Annotations = corev1.ServiceTypeLoadBalancer, map[string]string{}
		if node != "" {
			s.Annotations[api.BalancerNodeAnnotation] = node
		}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.1"}}
		s.Spec.LoadBalancerSourceRanges = []string{" 198.51.100.7/24"}
		if edit != nil {
			edit(s)
		}
	})
}

func TestOutside(t *testing.T) {
	for _, c := range []struct {
		name      string
		svc       *corev1.Service
		external  string
		balancers string
		announced bool
	}{
		{"external addresses", service(func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"203.0.113.9"} }), "[203.0.113.9]", "[]", false},
		{"another node's address", service(func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.0.2.2", "192.0.2.1"} }), "[192.0.2.1]", "[]", false},
		{"announced here", balancer("n1", nil), "[]", "[203.0.113.1]", true},
		{"announced elsewhere", balancer("n2", nil), "[]", "[]", true},
		{"of another implementation", balancer("", nil), "[]", "[203.0.113.1]", false},
		{"of a proxy that is outside", balancer("", func(s *corev1.Service) { s.Status.LoadBalancer.Ingress[0].IPMode = ptr(corev1.LoadBalancerIPModeProxy) }), "[]", "[]", false},
		{"headless", service(func(s *corev1.Service) {
			s.Spec.ClusterIP, s.Spec.ClusterIPs, s.Spec.ExternalIPs = "None", []string{"None"}, []string{"203.0.113.9"}
		}), "[]", "[]", false},
	} {
		m := newModel()
		m.PutNode(machineAt("n1", "", "192.0.2.1"))
		m.PutNode(machineAt("n2", "", "192.0.2.2"))
		m.PutService(c.svc)
		got := m.Table().Services[0]
		if text := join(got.ExternalIPs); text != c.external {
			t.Errorf("%s: external %s, want %s", c.name, text, c.external)
		}
		if text := join(got.BalancerIPs); text != c.balancers || got.Announced != c.announced {
			t.Errorf("%s: of the load balancer %s, announced %v, want %s, %v", c.name, text, got.Announced, c.balancers, c.announced)
		}
		if c.balancers != "[]" && !slices.Equal(got.SourceRanges, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}) {
			t.Errorf("%s: ranges %v", c.name, got.SourceRanges)
		}
	}
}

func join(list []netip.Addr) string {
	out := "["
	for i, a := range list {
		if i > 0 {
			out += " "
		}
		out += a.String()
	}
	return out + "]"
}

func TestNodesChangeTheTable(t *testing.T) {
	m := newModel()
	if !m.PutNode(machineAt("n1", "a", "192.0.2.1")) || m.PutNode(machineAt("n1", "a", "192.0.2.1")) || !m.PutNode(machineAt("n1", "b", "192.0.2.1")) {
		t.Error("what changes is not what is said to change")
	}
}

// TestLostMachines: Invariant 152. Other machines that are taken for dead are lost with the pods there; one that only says that it is not ready lives.
func TestLostMachines(t *testing.T) {
	m := newModel()
	for name, status := range map[string]corev1.ConditionStatus{"n1": corev1.ConditionUnknown, "n2": corev1.ConditionUnknown, "n3": corev1.ConditionFalse, "n4": corev1.ConditionTrue} {
		n := machineAt(name, "", "192.0.2."+name[1:])
		n.Spec.PodCIDRs = []string{"10.42." + name[1:] + ".0/24"}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}
		m.PutNode(n)
	}
	if got := fmt.Sprint(m.Table().Lost); got != "[10.42.2.0/24 192.0.2.2/32]" {
		t.Errorf("lost are %s", got)
	}
	back := machineAt("n2", "", "192.0.2.2")
	if !m.PutNode(back) || len(m.Table().Lost) > 0 {
		t.Errorf("lost after it is back are %v", m.Table().Lost)
	}
}

func TestHealthChecks(t *testing.T) {
	m := newModel()
	m.PutService(balancer("n1", func(s *corev1.Service) { s.Spec.HealthCheckNodePort = 32000 }))
	m.PutSlice(slice("web-1", 8080, "10.42.0.3", "10.42.0.2"))
	elsewhere, draining := slice("web-2", 8080, "10.42.1.2"), slice("web-3", 8080, "10.42.0.4")
	elsewhere.Endpoints[0].NodeName = ptr("n2")
	draining.Endpoints[0].Conditions.Ready = ptr(false)
	m.PutSlice(elsewhere)
	m.PutSlice(draining)
	m.PutSlice(slice("web-4", 9090, "10.42.0.3")) // another port of one of them
	if got := m.HealthChecks(); len(got) != 1 || got[0] != (HealthCheck{"default", "web", 32000, 2}) {
		t.Errorf("%+v", got)
	}
}

// nearAddresses are the endpoints that node n1 in zone "east" prefers, of one in each of the slices' hints.
func nearAddresses(hints ...*discoveryv1.EndpointHints) (out []string) {
	m := newModel()
	m.PutNode(machineAt("n1", "east", "192.0.2.1"))
	m.PutService(service(nil))
	s := slice("web-1", 8080, "10.42.0.1", "10.42.0.2", "10.42.0.3")
	for i, h := range hints {
		s.Endpoints[i].Hints = h
	}
	m.PutSlice(s)
	for _, e := range m.Table().Services[0].Ports[0].Endpoints {
		if e.Near {
			out = append(out, e.Address.Addr().String())
		}
	}
	return out
}

func TestNear(t *testing.T) {
	here := func(node, zone string) *discoveryv1.EndpointHints {
		h := &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: zone}}}
		if node != "" {
			h.ForNodes = []discoveryv1.ForNode{{Name: node}}
		}
		return h
	}
	for _, c := range []struct {
		name  string
		hints []*discoveryv1.EndpointHints
		want  []string
	}{
		{"none", nil, nil},
		{"the zone's", []*discoveryv1.EndpointHints{here("", "east"), here("", "west"), here("", "east")}, []string{"10.42.0.1", "10.42.0.3"}},
		{"nobody's of the zone", []*discoveryv1.EndpointHints{here("", "west"), here("", "west"), here("", "west")}, nil},
		{"one has no hint yet", []*discoveryv1.EndpointHints{here("", "east"), nil, here("", "east")}, nil},
		{"the node's before the zone's", []*discoveryv1.EndpointHints{here("n1", "east"), here("n2", "east"), here("n3", "west")}, []string{"10.42.0.1"}},
		{"the zone's if the node has none", []*discoveryv1.EndpointHints{here("n4", "east"), here("n2", "east"), here("n3", "west")}, []string{"10.42.0.1", "10.42.0.2"}},
	} {
		if got := nearAddresses(c.hints...); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestNearMeansReady(t *testing.T) {
	zone := []hint{{zones: []string{"east"}}, {zones: []string{"west"}}}
	list := []netproxy.Endpoint{endpoint("10.42.0.1:1"), endpoint("10.42.0.2:1")}
	list[0].Ready = false
	near(list, map[netip.AddrPort]hint{list[0].Address: zone[0], list[1].Address: zone[1]}, "n1", "east")
	if list[0].Near || list[1].Near {
		t.Errorf("%+v", list)
	}
}
