package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/peapod-sh/peapod/agent/network"
)

func TestBlocks(t *testing.T) {
	for _, c := range []struct {
		cidr   string
		except []string
		want   string
	}{
		{"10.0.0.0/8", nil, "10.0.0.0-10.255.255.255 "},
		{"10.1.2.3/24", nil, "10.1.2.0-10.1.2.255 "},
		{"10.0.0.0/30", []string{"10.0.0.1/32"}, "10.0.0.0-10.0.0.0 10.0.0.2-10.0.0.3 "},
		{"10.0.0.0/24", []string{"10.0.0.0/25", "10.0.0.128/26", "10.0.0.130/32"}, "10.0.0.192-10.0.0.255 "},
		{"10.0.0.0/24", []string{"10.0.0.192/26"}, "10.0.0.0-10.0.0.191 "},
		{"0.0.0.0/0", []string{"255.0.0.0/8", "0.0.0.0/1"}, "128.0.0.0-254.255.255.255 "},
		{"10.0.0.0/24", []string{"10.0.0.0/25", "10.0.0.128/25"}, ""},
		{"2001:db8::/64", nil, "2001:db8::-2001:db8::ffff:ffff:ffff:ffff "},
		{"2001:db8::/126", []string{"2001:db8::1/128", "2001:db8::3/128"}, "2001:db8::-2001:db8:: 2001:db8::2-2001:db8::2 "},
		{"::/0", []string{"8000::/1", "::/2"}, "4000::-7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "},
		{"0.0.0.0/0", []string{"::/0"}, "0.0.0.0-255.255.255.255 "},
	} {
		got := ""
		for _, r := range block(c.cidr, c.except) {
			got += fmt.Sprintf("%s-%s ", r.First, r.Last)
		}
		if got != c.want {
			t.Errorf("%s but %v: %s, want %s", c.cidr, c.except, got, c.want)
		}
	}
}

func TestMerge(t *testing.T) {
	one := func(s string) network.AddrRange {
		a := netip.MustParseAddr(s)
		return network.AddrRange{First: a, Last: a}
	}
	got := merge([]network.AddrRange{one("10.0.0.3"), one("10.0.0.1"), one("10.0.0.2"), one("10.0.0.1"), one("::"), one("::1"), one("10.0.0.9"), one("255.255.255.255")})
	want := "[{10.0.0.1 10.0.0.3} {10.0.0.9 10.0.0.9} {255.255.255.255 255.255.255.255} {:: ::1}]"
	if fmt.Sprint(got) != want {
		t.Errorf("merged into %v, want %s", got, want)
	}
}

// web is the pod that the policies of TestRules are about; near is in its namespace, far in another and on another node.
func threePods() *world {
	pod := func(name, namespace, ip string) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(name), Namespace: namespace, Labels: map[string]string{"app": name}}}
		p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80}}}}
		setIPs(p, ip, "fd00:"+strings.ReplaceAll(ip, ".", ":"))
		return p
	}
	return &world{namespaces: map[string]map[string]string{"default": {"team": "a"}, "else": {"team": "b"}},
		own: []*corev1.Pod{pod("web", "default", "10.42.0.2"), pod("near", "default", "10.42.0.3")}, other: []*corev1.Pod{pod("far", "else", "10.42.1.2")}}
}

func TestRules(t *testing.T) {
	for _, c := range []struct{ name, spec, want string }{
		{"default deny", `{podSelector: {}, policyTypes: [Ingress]}`, "world>web- near>web- far>web- web>near- web>far web>world node>web"},
		{"deny of both", `{podSelector: {}, policyTypes: [Ingress, Egress]}`, "world>web- near>web- far>web- web>near- web>far- web>world- node>web web>node"},
		{"another pod's", `{podSelector: {matchLabels: {app: near}}, policyTypes: [Ingress]}`, "near>web far>web web>near-"},
		{"own namespace", `{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {}}]}]}`, "near>web far>web- world>web-"},
		{"a namespace", `{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress], ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}]}]}`, "near>web- far>web"},
		{"a pod in a namespace", `{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress], ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: far}}}]}]}`, "near>web- far>web"},
		{"everybody at a port", `{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{protocol: TCP, port: 80}]}]}`, "near>web far>web world>web"},
		{"everybody at another", `{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{protocol: TCP, port: 81}]}]}`, "near>web- world>web-"},
		{"a range of ports", `{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{protocol: TCP, port: 79, endPort: 80}]}]}`, "near>web"},
		{"a name", `{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{protocol: TCP, port: http}]}]}`, "near>web"},
		{"a name of another protocol", `{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{protocol: UDP, port: http}]}]}`, "near>web-"},
		{"a name at the destination", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}], ports: [{protocol: TCP, port: http}]}]}`, "web>near web>far- web>world- near>web"},
		{"a block", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.42.0.0/16]}}]}]}`, "web>world web>near- web>far-"},
		{"no type of egress", `{podSelector: {}, policyTypes: [Ingress], ingress: [{}], egress: []}`, "web>world near>web"},
	} {
		w := threePods()
		p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}}
		if err := yaml.UnmarshalStrict([]byte(c.spec), &p.Spec); err != nil {
			t.Fatal(err)
		}
		w.policies = append(w.policies, p)
		checkAllows(t, c.name, w.model().View(), c.want)
	}
}

// checkAllows reads "a>b" as may connect at TCP port 80, and "a>b-" as may not.
func checkAllows(t *testing.T, name string, v *View, want string) {
	t.Helper()
	at := map[string]netip.Addr{"world": netip.MustParseAddr("203.0.113.9"), "node": nodeAddress, "web": netip.MustParseAddr("10.42.0.2"),
		"near": netip.MustParseAddr("10.42.0.3"), "far": netip.MustParseAddr("10.42.1.2")}
	for _, q := range strings.Fields(want) {
		denied := strings.HasSuffix(q, "-")
		from, to, _ := strings.Cut(strings.TrimSuffix(q, "-"), ">")
		if got := v.Allows(at[from], netip.AddrPortFrom(at[to], 80), 6); got == denied {
			t.Errorf("%s: %s gives %v", name, q, got)
		}
	}
}

// Invariant 121: a pod that the node has just given an address is isolated before its object says that it has one, and its address belongs to
// nobody once it is taken back.
func TestAttachedBeforeItIsKnown(t *testing.T) {
	w := threePods()
	w.policies = append(w.policies, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"},
		Spec: networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}}})
	m := w.model()
	m.PutOwn(PodOf(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "new", Namespace: "default"}}))
	address := netip.MustParseAddr("10.42.0.9")
	if _, isolated := m.View().Filter().Ingress[address]; isolated {
		t.Fatal("isolated without an address")
	}
	second := netip.MustParseAddr("fd00:42::9")
	m.Attach("new", address, second)
	for _, a := range []netip.Addr{address, second} {
		if _, isolated := m.View().Filter().Ingress[a]; !isolated || m.View().Allows(netip.MustParseAddr("203.0.113.9"), netip.AddrPortFrom(a, 80), 6) {
			t.Errorf("%s is not isolated when the pod gets it", a)
		}
	}
	m.Detach("new")
	for _, a := range []netip.Addr{address, second} {
		if _, isolated := m.View().Filter().Ingress[a]; isolated {
			t.Errorf("%s is still isolated when it was taken back", a)
		}
	}
	m.Detach("web")
	if _, isolated := m.View().Filter().Ingress[netip.MustParseAddr("10.42.0.2")]; isolated {
		t.Error("a pod is isolated that has no address any more, whatever its status says")
	}
}

// While a watch starts over, the old rules hold.
func TestStartingOver(t *testing.T) {
	w := threePods()
	w.policies = append(w.policies, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"},
		Spec: networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}}})
	m := w.model()
	m.Begin(false)
	if m.PutOwn(PodOf(w.own[0])) {
		t.Error("half a watch changes something")
	}
	checkAllows(t, "while starting over", m.View(), "near>web-")
	m.Synced()
	checkAllows(t, "after it", m.View(), "near>web")
	if m.PutOwn(PodOf(w.own[0])) {
		t.Error("a pod that is as it was changes something")
	}
}

// TestStartingOverAtAnOlderServer: Invariant 154. A server that does not tell of policies does not open pods.
func TestStartingOverAtAnOlderServer(t *testing.T) {
	w := threePods()
	w.policies = append(w.policies, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"},
		Spec: networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}}})
	m := w.model()
	for _, keep := range []bool{true, false} {
		m.Begin(keep)
		m.PutOwn(PodOf(w.own[0]))
		m.Synced()
		if _, isolated := m.View().Filter().Ingress[netip.MustParseAddr("10.42.0.2")]; isolated != keep {
			t.Errorf("kept %v, isolated %v", keep, isolated)
		}
	}
}
