package reconcile

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api/ops"
)

func (w *world) serviceAt(name string, ips ...string) {
	w.put(Services, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{ClusterIPs: ips}})
	w.settle()
}

// addresses are the IPAddress objects and what they belong to.
func (w *world) addresses() map[string]string {
	out := map[string]string{}
	for _, o := range w.list(IPAddresses) {
		p := o.obj.(*networkingv1.IPAddress).Spec.ParentRef
		out[o.name] = p.Resource + "/" + p.Namespace + "/" + p.Name
	}
	return out
}

func TestAddressesFollowServices(t *testing.T) {
	w := standardWorld(t, 1, 0)
	w.serviceAt("a", "10.43.0.9", "fd00::9")
	w.serviceAt("headless", "None")
	got := w.addresses()
	if len(got) != 2 || got["10.43.0.9"] != "services/default/a" || got["fd00::9"] != "services/default/a" {
		t.Fatalf("addresses %v", got)
	}
	o := w.objects[ref{IPAddresses, "", "fd00::9"}]
	if l := o.meta.GetLabels(); l[networkingv1.LabelIPAddressFamily] != "IPv6" || l[networkingv1.LabelManagedBy] != addressKeeper || o.meta.GetUID() == "" {
		t.Errorf("%+v", o.meta)
	}
	w.apply([]ops.Op{&ops.Delete{Resource: IPAddresses, Name: "10.43.0.9", Expect: ops.Any}}) // somebody's mistake is mended
	w.settle()
	if got := w.addresses(); len(got) != 2 {
		t.Fatalf("after a deletion: %v", got)
	}
	// The address goes to another service in one write after the other.
	w.apply([]ops.Op{&ops.Delete{Resource: Services, Namespace: "default", Name: "a", Expect: ops.Any}})
	w.put(Services, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b"}, Spec: corev1.ServiceSpec{ClusterIPs: []string{"10.43.0.9"}}})
	w.settle()
	if got := w.addresses(); len(got) != 1 || got["10.43.0.9"] != "services/default/b" {
		t.Fatalf("after a change of hands: %v", got)
	}
}

func TestStrangersAddressesAreLeftAlone(t *testing.T) {
	w := standardWorld(t, 1, 0)
	w.put(IPAddresses, &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: "192.0.2.1"},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Group: "example.com", Resource: "gateways", Name: "g"}}})
	w.settle()
	if got := w.addresses(); len(got) != 1 {
		t.Fatalf("addresses %v", got)
	}
}
