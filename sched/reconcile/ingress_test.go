package reconcile

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

func (w *world) addGate(name, ip string, ready corev1.ConditionStatus) {
	w.addGateAt(name, ready, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
}

func (w *world) addGateAt(name string, ready corev1.ConditionStatus, at ...corev1.NodeAddress) {
	w.put(Nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{api.NodeIngressAnnotation: "true"}},
		Status: corev1.NodeStatus{Addresses: at, Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}}})
	w.settle()
}

func (w *world) addIngressClass(name, controller string) {
	w.put(IngressClasses, &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.IngressClassSpec{Controller: controller}})
	w.settle()
}

func (w *world) addIngress(name, class, service, secret string) {
	w.put(Ingresses, &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: networkingv1.IngressSpec{IngressClassName: &class, TLS: []networkingv1.IngressTLS{{SecretName: secret}},
			DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 80}}}}})
	w.settle()
}

func (w *world) ingressAt(name string) string {
	var out []string
	for _, a := range w.objects[ref{Ingresses, "default", name}].obj.(*networkingv1.Ingress).Status.LoadBalancer.Ingress {
		out = append(out, a.IP)
	}
	return strings.Join(out, " ")
}

// saidOf lists the reasons of an ingress's events, and how often each was given.
func (w *world) saidOf(name string) (out []string) {
	for _, o := range w.list(Events) {
		if e := o.obj.(*corev1.Event); e.InvolvedObject.Kind == "Ingress" && e.InvolvedObject.Name == name {
			out = append(out, fmt.Sprint(e.Reason, " ", e.Count))
		}
	}
	slices.Sort(out)
	return out
}

// Invariant 151: the status of an ingress that others serve is theirs.
func TestIngressSaysWhereItIsReached(t *testing.T) {
	w := standardWorld(t, 1, 1) // whose node serves no ingresses
	w.addIngressClass("ours", api.IngressController)
	w.addIngressClass("theirs", "example.com/x")
	w.addGate("g2", "192.0.2.2", corev1.ConditionTrue)
	w.addIngress("web", "ours", "a", "")
	w.addIngress("other", "theirs", "a", "")
	w.addIngress("late", "later", "a", "")
	w.addGate("g1", "192.0.2.1", corev1.ConditionTrue)
	w.addGate("g3", "192.0.2.3", corev1.ConditionFalse)
	for _, c := range []struct{ name, want string }{{"web", "192.0.2.1 192.0.2.2"}, {"other", ""}, {"late", ""}} {
		if got := w.ingressAt(c.name); got != c.want {
			t.Errorf("%s is at %q, want %q", c.name, got, c.want)
		}
	}
	w.addIngressClass("later", api.IngressController)
	if got := w.ingressAt("late"); got != "192.0.2.1 192.0.2.2" {
		t.Errorf("with its class it is at %q", got)
	}
	w.e.NodeDown("g2")
	w.settle()
	if got := w.ingressAt("web"); got != "192.0.2.1" {
		t.Errorf("with a dead node it is at %q", got)
	}
	w.apply([]ops.Op{&ops.Delete{Resource: Nodes, Name: "g1", Expect: ops.Any}})
	w.settle()
	if got := w.ingressAt("web"); got != "" {
		t.Errorf("without nodes it is at %q", got)
	}
}

// A client of either family finds its addresses; who is told of addresses for those outside needs no others.
func TestIngressSaysAddressesOfBothFamilies(t *testing.T) {
	w := standardWorld(t, 1, 1)
	w.addIngressClass("ours", api.IngressController)
	w.addIngress("web", "ours", "a", "")
	internal := func(a string) corev1.NodeAddress { return corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a} }
	external := func(a string) corev1.NodeAddress { return corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: a} }
	w.addGateAt("g2", corev1.ConditionTrue, internal("192.0.2.2"), internal("2001:db8::2"), internal("192.0.2.22"))
	w.addGateAt("g1", corev1.ConditionTrue, internal("192.0.2.1"))
	w.addGateAt("g3", corev1.ConditionTrue, internal("192.0.2.3"), external("198.51.100.3"), external("2001:db8:e::3"), internal("2001:db8::3"))
	if got, want := w.ingressAt("web"), "192.0.2.1 192.0.2.2 198.51.100.3 2001:db8::2 2001:db8:e::3"; got != want {
		t.Errorf("it is at %q, want %q", got, want)
	}
	w.addGateAt("g2", corev1.ConditionTrue, internal("192.0.2.2")) // its second address is gone
	if got, want := w.ingressAt("web"), "192.0.2.1 192.0.2.2 198.51.100.3 2001:db8:e::3"; got != want {
		t.Errorf("without one of its second addresses it is at %q, want %q", got, want)
	}
}

func TestIngressSaysWhatItMisses(t *testing.T) {
	w := standardWorld(t, 1, 0)
	w.addIngressClass("ours", api.IngressController)
	w.addIngressClass("theirs", "example.com/x")
	w.addIngress("other", "theirs", "a", "cert")
	w.addIngress("web", "ours", "a", "cert")
	w.addGate("g", "192.0.2.1", corev1.ConditionTrue) // each change has it looked at again
	w.addService("unrelated", "x")
	if got := fmt.Sprint(w.saidOf("web")); got != "[SecretNotFound 1 ServiceNotFound 1]" {
		t.Error(got)
	}
	if got := w.saidOf("other"); len(got) > 0 {
		t.Error("of an ingress that others serve: ", got)
	}
	w.addService("a", "a")
	w.put(Secrets, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "cert"}})
	w.settle()
	if got := fmt.Sprint(w.saidOf("web")); got != "[InvalidSecret 1 SecretNotFound 1 ServiceNotFound 1]" {
		t.Error(got)
	}
	w.apply([]ops.Op{&ops.Delete{Resource: Services, Namespace: "default", Name: "a", Expect: ops.Any}})
	w.settle()
	if got := fmt.Sprint(w.saidOf("web")); got != "[InvalidSecret 1 SecretNotFound 1 ServiceNotFound 2]" {
		t.Error(got)
	}
}
