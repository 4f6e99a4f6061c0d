package server

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
)

func ingressFor(namespace, n, class, secret string) *networkingv1.Ingress {
	return &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: n},
		Spec: networkingv1.IngressSpec{IngressClassName: &class, TLS: []networkingv1.IngressTLS{{SecretName: secret}}}}
}

// Invariant 16: of Secrets, nodes hear those with certificates of ingresses that they serve, and of no other.
func TestNodesHearOfCertificatesOnly(t *testing.T) {
	s := &Server{state: fsm.New()}
	put := func(index uint64, gr schema.GroupResource, o runtime.Object) {
		s.state.ApplyOps(index, []ops.Op{&ops.Put{Resource: gr, Object: o, Expect: ops.Any}})
	}
	class := func(n, controller string) *networkingv1.IngressClass {
		return &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: n}, Spec: networkingv1.IngressClassSpec{Controller: controller}}
	}
	put(1, ingressClassesResource, class("ours", api.IngressController))
	put(2, ingressClassesResource, class("theirs", "example.com/x"))
	put(3, ingressesResource, ingressFor("ns", "a", "ours", "cert"))
	put(4, ingressesResource, ingressFor("ns", "b", "theirs", "their-cert"))
	put(5, ingressesResource, ingressFor("ns", "c", "gone", "lost-cert"))
	put(6, ingressesResource, ingressFor("ns2", "d", "ours", ""))
	put(7, ingressesResource, ingressFor("zz", "d", "ours", "zz-cert"))
	for _, c := range []struct {
		namespace, name string
		want            bool
	}{
		{"ns", "cert", true}, {"zz", "zz-cert", true},
		{"ns", "their-cert", false}, {"ns", "lost-cert", false}, {"ns", "other", false}, {"ns2", "cert", false}, {"ns2", "", false}, {"n", "cert", false},
	} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: c.name}}
		if got := s.shows(&api.Change{Resource: secretsResource, Namespace: c.namespace, Name: c.name, New: secret}); got != c.want {
			t.Errorf("nodes hear of %s/%s: %v, want %v", c.namespace, c.name, got, c.want)
		}
	}
}
