package api

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// addressed are objects of every kind with an address or a range that users write, and where it is.
var addressed = []struct {
	gr   string
	path string
	old  string // in a form that is no longer allowed
	with func(text string) runtime.Object
}{
	{"services", "spec.externalIPs[0]", "010.1.2.3", func(ip string) runtime.Object {
		return &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}, ExternalIPs: []string{ip}}}
	}},
	{"services", "spec.LoadBalancerSourceRanges[0]", "10.1.2.3/8", func(cidr string) runtime.Object {
		return &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}, LoadBalancerSourceRanges: []string{cidr}}}
	}},
	{"nodes", "spec.podCIDRs[0]", "10.1.2.3/8", func(cidr string) runtime.Object {
		return &corev1.Node{Spec: corev1.NodeSpec{PodCIDR: cidr, PodCIDRs: []string{cidr}}}
	}},
	{"pods", "spec.hostAliases[0].ip", "::ffff:1.2.3.4", func(ip string) runtime.Object {
		return &corev1.Pod{Spec: aliased(ip)}
	}},
	{"deployments.apps", "spec.template.spec.hostAliases[0].ip", "010.1.2.3", func(ip string) runtime.Object {
		l := map[string]string{"a": "b"}
		return &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: l},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: l}, Spec: aliased(ip)}}}
	}},
	{"networkpolicies.networking.k8s.io", "spec.ingress[0].from[0].ipBlock.cidr", "10.1.2.3/8", func(cidr string) runtime.Object {
		return &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{
			{From: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: cidr}}}}}}}
	}},
	{"endpoints", "subsets[0].addresses[0].ip", "010.1.2.3", func(ip string) runtime.Object {
		return &corev1.Endpoints{Subsets: []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: ip}}}}}
	}},
	{"endpointslices.discovery.k8s.io", "endpoints[0].addresses[0]", "010.1.2.3", func(ip string) runtime.Object {
		return &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{ip}}}}
	}},
}

func aliased(ip string) corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}, HostAliases: []corev1.HostAlias{{IP: ip}}}
}

func TestOldFormsOfAddresses(t *testing.T) {
	for _, c := range addressed {
		k := KindFor(schema.ParseGroupResource(c.gr))
		make := func(text string) runtime.Object {
			o := c.with(text)
			m := o.(metav1.Object)
			m.SetName("x")
			if !k.ClusterScoped {
				m.SetNamespace("default")
			}
			if k.Default != nil {
				k.Default(o)
			}
			return o
		}
		faulty := func(o, old runtime.Object) bool {
			errs := k.Validate(o)
			if old != nil {
				errs = k.ValidateUpdate(o, old)
			}
			for _, e := range errs {
				if e.Field != c.path {
					t.Errorf("%s: another fault: %v", c.gr, e)
				}
			}
			return len(errs) > 0
		}
		other := strings.NewReplacer("3.4", "3.5", "2.3", "2.4").Replace(c.old)
		good := map[bool]string{false: "10.2.0.1", true: "10.2.0.0/16"}[strings.Contains(c.old, "/")]
		if !faulty(make(c.old), nil) {
			t.Errorf("%s: a new one may have %s at %s", c.gr, c.old, c.path)
		}
		if faulty(make(c.old), make(c.old)) {
			t.Errorf("%s: one that has %s may not keep it at %s", c.gr, c.old, c.path)
		}
		if c.gr == "pods" || c.gr == "nodes" {
			continue // theirs are not to be changed
		}
		if !faulty(make(c.old), make(other)) || !faulty(make(c.old), make(good)) {
			t.Errorf("%s: %s may come at %s", c.gr, c.old, c.path)
		}
		if faulty(make(good), make(c.old)) {
			t.Errorf("%s: %s may not be mended at %s", c.gr, c.old, c.path)
		}
	}
}

func TestAddressesMoveWithinTheirList(t *testing.T) {
	k := KindFor(schema.GroupResource{Resource: "services"})
	make := func(ips ...string) *corev1.Service {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "default"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}, ExternalIPs: ips}}
		k.Default(s)
		return s
	}
	if errs := k.ValidateUpdate(make("10.0.0.1", "010.0.0.2"), make("010.0.0.2")); len(errs) > 0 {
		t.Error(errs)
	}
	if errs := k.ValidateUpdate(make("010.0.0.1", "010.0.0.2"), make("010.0.0.2")); len(errs) != 1 || errs[0].BadValue != "010.0.0.1" {
		t.Error(errs)
	}
}

func TestWarningsAboutAddresses(t *testing.T) {
	for _, c := range []struct {
		gr   string
		o    runtime.Object
		want string
	}{
		{"services", &corev1.Service{Spec: corev1.ServiceSpec{ExternalIPs: []string{"2001:db8:0:0::2"}}}, `spec.externalIPs[0]: IPv6 address "2001:db8:0:0::2" should be in RFC 5952 canonical format ("2001:db8::2")`},
		{"pods", &corev1.Pod{Spec: aliased("2001:db8:0:0::2")}, `spec.hostAliases[0].ip: IPv6 address "2001:db8:0:0::2" should be in RFC 5952 canonical format ("2001:db8::2")`},
		{"nodes", &corev1.Node{Spec: corev1.NodeSpec{PodCIDRs: []string{"2001:db8:0:0::/64"}}}, `spec.podCIDRs[0]: IPv6 CIDR value "2001:db8:0:0::/64" should be in RFC 5952 canonical format ("2001:db8::/64")`},
		{"endpoints", &corev1.Endpoints{Subsets: []corev1.EndpointSubset{{NotReadyAddresses: []corev1.EndpointAddress{{IP: "2001:db8:0:0::2"}}}}},
			`subsets[0].notReadyAddresses[0].ip: IPv6 address "2001:db8:0:0::2" should be in RFC 5952 canonical format ("2001:db8::2")`},
	} {
		if got := KindFor(schema.GroupResource{Resource: c.gr}).Warnings(c.o, nil); !slices.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.gr, got, c.want)
		}
	}
}
