package ingress

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/netproxy"
)

// ingressOf makes an ingress of rules written as "host path type service"; "-" is no host. A rule of two words is the default backend.
func ingressOf(n string, age int, rules ...string) *networkingv1.Ingress {
	class := "ours"
	in := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: n, CreationTimestamp: metav1.NewTime(time.Unix(int64(1e9-age), 0))},
		Spec: networkingv1.IngressSpec{IngressClassName: &class}}
	for _, text := range rules {
		f := strings.Fields(text)
		backend := func(service string) networkingv1.IngressBackend {
			return networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 80}}}
		}
		if f[0] == "default" {
			b := backend(f[1])
			in.Spec.DefaultBackend = &b
			continue
		}
		kind := networkingv1.PathType(f[2])
		in.Spec.Rules = append(in.Spec.Rules, networkingv1.IngressRule{Host: strings.TrimPrefix(f[0], "-"), IngressRuleValue: networkingv1.IngressRuleValue{
			HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{Path: f[1], PathType: &kind, Backend: backend(f[3])}}}}})
	}
	return in
}

// tableOf has services, each with one endpoint by which it is told.
func tableOf(services ...string) *netproxy.Table {
	t := &netproxy.Table{}
	for i, s := range services {
		t.Services = append(t.Services, netproxy.Service{Namespace: "ns", Name: s, Ports: []netproxy.Port{{Name: "web", Port: 80,
			Endpoints: []netproxy.Endpoint{{Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), 80), Ready: true}}}}})
	}
	return t
}

func routed(t *netproxy.Table, list ...*networkingv1.Ingress) *routing {
	o := newObjects()
	o.classes["ours"] = true
	for _, in := range list {
		o.ingresses[name{in.Namespace, in.Name}] = in
	}
	p := &pool{}
	p.begin()
	return build(o, t, p)
}

func TestRouter(t *testing.T) {
	services := []string{"a", "b", "c", "d"}
	for _, c := range []struct {
		rules []string
		want  map[string]string // service by host/path
	}{
		{[]string{"h /foo Exact a"}, map[string]string{"h/foo": "a", "h/foo/": "", "h/foo/x": "", "h/": "", "other/foo": ""}},
		{[]string{"h /foo/ Exact a"}, map[string]string{"h/foo": "", "h/foo/": "a"}},
		{[]string{"h / Prefix a"}, map[string]string{"h/": "a", "h/x/y": "a", "h": "a", "H:8080/x": "a", "h./x": "a"}},
		{[]string{"h /foo Prefix a"}, map[string]string{"h/foo": "a", "h/foo/": "a", "h/foo/x": "a", "h/foobar": "", "h/Foo": ""}},
		{[]string{"h /foo/ Prefix a"}, map[string]string{"h/foo": "a", "h/foo/": "a", "h/foobar": ""}},
		{[]string{"h /aaa/bbb Prefix a"}, map[string]string{"h/aaa/bbb": "a", "h/aaa/bbb/ccc": "a", "h/aaa/bbbxyz": "", "h/aaa": ""}},
		{[]string{"h / Prefix a", "h /aaa Prefix b", "h /aaa/bbb Prefix c"}, map[string]string{"h/aaa/bbb/x": "c", "h/aaa/ccc": "b", "h/ccc": "a"}},
		{[]string{"h /foo Prefix a", "h /foo Exact b"}, map[string]string{"h/foo": "b", "h/foo/": "a", "h/foo/x": "a"}},
		{[]string{"h /foo/ Prefix a", "h /foo Exact b"}, map[string]string{"h/foo": "b", "h/foo/": "a"}},
		{[]string{"h /foo ImplementationSpecific a"}, map[string]string{"h/foo/x": "a", "h/foobar": ""}},
		{[]string{"*.foo.com / Prefix a"}, map[string]string{"bar.foo.com/": "a", "baz.bar.foo.com/": "", "foo.com/": "", "BAR.foo.com/x": "a"}},
		{[]string{"*.foo.com / Prefix a", "bar.foo.com /x Prefix b"}, map[string]string{"bar.foo.com/x": "b", "bar.foo.com/y": "a", "z.foo.com/x": "a"}},
		{[]string{"- / Prefix a", "h /x Prefix b", "default d"}, map[string]string{"h/x": "b", "h/y": "a", "none/": "a"}},
		{[]string{"h /x Prefix b", "default d"}, map[string]string{"h/x": "b", "h/y": "d", "none/": "d"}},
		{[]string{"h /public Prefix a", "h /admin Prefix b"}, map[string]string{"h/public/../admin": "b", "h//admin": "b", "h/public/./x": "a"}},
	} {
		r := routed(tableOf(services...), ingressOf("in", 0, c.rules...))
		for at, want := range c.want {
			host, path := at, ""
			if i := strings.Index(at, "/"); i >= 0 {
				host, path = at[:i], at[i:]
			}
			if got := serviceOf(r.find(host, path), services); got != want {
				t.Errorf("%q: %s goes to %q, want %q", c.rules, at, got, want)
			}
		}
	}
}

// serviceOf names the service whose endpoint a target has.
func serviceOf(t *target, services []string) string {
	if t == nil {
		return ""
	}
	for i, s := range services {
		if len(t.endpoints) == 1 && t.endpoints[0].address == fmt.Sprintf("10.0.0.%d:80", i+1) {
			return s
		}
	}
	return "?"
}

// Invariant 151: an ingress of another class counts for nothing here, however old it is.
func TestOlderIngressHasIt(t *testing.T) {
	young, old := ingressOf("a", 1, "h /x Prefix a", "default a"), ingressOf("b", 2, "h /x Prefix b", "default b")
	foreign := ingressOf("c", 3, "h /x Prefix c")
	*foreign.Spec.IngressClassName = "somebody-elses"
	r := routed(tableOf("a", "b", "c"), young, old, foreign)
	for _, at := range []string{"/x", "/y"} {
		if got := serviceOf(r.find("h", at), []string{"a", "b", "c"}); got != "b" {
			t.Errorf("%s goes to %q", at, got)
		}
	}
}

func TestPortsAndEndpoints(t *testing.T) {
	in := ingressOf("in", 0, "h /number Prefix a", "h /name Prefix a", "h /wrong Prefix a", "h /none Prefix z")
	in.Spec.Rules[1].HTTP.Paths[0].Backend.Service.Port = networkingv1.ServiceBackendPort{Name: "web"}
	in.Spec.Rules[2].HTTP.Paths[0].Backend.Service.Port = networkingv1.ServiceBackendPort{Name: "other"}
	table := tableOf("a")
	port := &table.Services[0].Ports[0]
	at := func(i byte) netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, i}), 80) }
	port.Endpoints = []netproxy.Endpoint{{Address: at(1), Serving: true, Terminating: true}, {Address: at(2)}, {Address: at(3), Ready: true, Serving: true}}
	for _, c := range []struct{ path, want string }{{"/number", "[10.0.0.3:80]"}, {"/name", "[10.0.0.3:80]"}, {"/wrong", "[]"}, {"/none", "[]"}} {
		if got := addresses(routed(table, in).find("h", c.path)); got != c.want {
			t.Errorf("%s has %s, want %s", c.path, got, c.want)
		}
	}
	port.Endpoints = port.Endpoints[:2]
	if got := addresses(routed(table, in).find("h", "/number")); got != "[10.0.0.1:80]" {
		t.Errorf("with none ready: %s", got)
	}
}

func addresses(t *target) string {
	out := []string{}
	for _, e := range t.endpoints {
		out = append(out, e.address)
	}
	return fmt.Sprint(out)
}

// The order in which rules are written decides nothing while they differ, and what is found does match.
func TestRouterProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		segment := rapid.SampledFrom([]string{"/a", "/b", "/ab"})
		path := rapid.Custom(func(t *rapid.T) string {
			return strings.Join(rapid.SliceOfN(segment, 1, 3).Draw(t, "segments"), "") + rapid.SampledFrom([]string{"", "/"}).Draw(t, "end")
		})
		kind := rapid.SampledFrom([]string{"Exact", "Prefix"})
		rule := rapid.Custom(func(t *rapid.T) string {
			return "h " + path.Draw(t, "path") + " " + kind.Draw(t, "type")
		})
		rules := rapid.SliceOfNDistinct(rule, 1, 5, rapid.ID).Draw(t, "rules")
		services := []string{"a", "b", "c", "d", "e"}
		with := make([]string, len(rules))
		for i := range rules {
			with[i] = rules[i] + " " + services[i]
		}
		asked := path.Draw(t, "asked")
		table := tableOf(services...)
		first := serviceOf(routed(table, ingressOf("in", 0, with...)).find("h", asked), services)
		if again := serviceOf(routed(table, ingressOf("in", 0, rapid.Permutation(with).Draw(t, "other order")...)).find("h", asked), services); again != first {
			t.Fatalf("%q of %q goes to %q, and in another order to %q", asked, with, first, again)
		}
		matching := func(r string) bool {
			f := strings.Fields(r)
			if f[1] == asked && f[2] == "Exact" {
				return true
			}
			return f[2] == "Prefix" && strings.HasPrefix(strings.TrimSuffix(asked, "/")+"/", strings.TrimSuffix(f[1], "/")+"/")
		}
		longest := 0
		for i, r := range rules {
			if matching(r) {
				longest = max(longest, len(strings.TrimSuffix(strings.Fields(rules[i])[1], "/")))
			}
		}
		if (first == "") != (longest == 0) {
			t.Fatalf("%q of %q goes to %q", asked, with, first)
		}
		for i, s := range services[:len(rules)] {
			if s == first && (!matching(rules[i]) || len(strings.TrimSuffix(strings.Fields(rules[i])[1], "/")) != longest) {
				t.Fatalf("%q of %q goes to %q", asked, with, first)
			}
		}
	})
}

func TestOptions(t *testing.T) {
	in := ingressOf("in", 0)
	in.Annotations = map[string]string{api.IngressRedirect: "true", api.IngressTimeout: "90s", api.IngressBodyMax: "8Mi", api.IngressBackend: "GRPC"}
	if o, faults := api.ReadIngressOptions(in); o != (api.IngressOptions{Redirect: true, Timeout: 90 * time.Second, BodyMax: 8 << 20, Backend: "grpc"}) || len(faults) > 0 {
		t.Errorf("%+v %q", o, faults)
	}
	in.Annotations = map[string]string{api.IngressTimeout: "soon", api.IngressBodyMax: "-1", api.IngressBackend: "fcgi"}
	if o, faults := api.ReadIngressOptions(in); o != (api.IngressOptions{Timeout: time.Minute}) || len(faults) != 3 {
		t.Errorf("%+v %q", o, faults)
	}
}
