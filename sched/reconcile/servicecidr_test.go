package reconcile

import (
	"slices"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api/ops"
)

func (w *world) addRange(name string, cidrs ...string) {
	w.put(ServiceCIDRs, &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: cidrs}})
	w.settle()
}

func (w *world) rangeNamed(name string) *networkingv1.ServiceCIDR {
	if o := w.objects[ref{ServiceCIDRs, "", name}]; o != nil {
		return o.obj.(*networkingv1.ServiceCIDR)
	}
	return nil
}

func (w *world) serviceGoes(name string) {
	w.apply([]ops.Op{&ops.Delete{Resource: Services, Namespace: "default", Name: name, Expect: ops.Any}})
	w.settle()
}

func TestRangeIsReadyAndWaitsForItsServices(t *testing.T) {
	w := standardWorld(t, 1, 0)
	w.addRange("kubernetes", "10.43.0.0/16")
	w.addRange("more", "192.0.2.0/24")
	c := w.rangeNamed("more")
	if !meta.IsStatusConditionTrue(c.Status.Conditions, "Ready") || !slices.Equal(c.Finalizers, []string{rangeFinalizer}) {
		t.Fatalf("%+v", c)
	}
	w.serviceAt("a", "192.0.2.7")
	w.serviceAt("b", "10.43.0.7")
	w.ask(ServiceCIDRs, "", "more")
	w.now = w.now.Add(2 * rangePause)
	w.settle()
	ready := meta.FindStatusCondition(w.rangeNamed("more").Status.Conditions, "Ready")
	if ready == nil || ready.Status != metav1.ConditionFalse || ready.Reason != networkingv1.ServiceCIDRReasonTerminating {
		t.Fatalf("%+v", ready)
	}
	w.serviceGoes("a")
	if w.rangeNamed("more") != nil || w.rangeNamed("kubernetes") == nil {
		t.Fatal("the range without services is still there, or the other is not")
	}
}

func TestRangeWaitsUntilAllServersKnow(t *testing.T) {
	w := standardWorld(t, 1, 0)
	w.addRange("more", "192.0.2.0/24")
	w.ask(ServiceCIDRs, "", "more")
	if w.rangeNamed("more") == nil {
		t.Fatal("the range went at once")
	}
	w.now = w.now.Add(rangePause)
	w.settle()
	if w.rangeNamed("more") != nil {
		t.Fatal("the range is still there")
	}
}

func TestRangeWithinAnotherMayGo(t *testing.T) {
	w := standardWorld(t, 1, 0)
	w.addRange("small", "192.0.2.0/25")
	w.serviceAt("a", "192.0.2.7")
	w.ask(ServiceCIDRs, "", "small")
	w.now = w.now.Add(2 * rangePause)
	w.settle()
	if w.rangeNamed("small") == nil {
		t.Fatal("the only range of a service's address went")
	}
	w.addRange("large", "192.0.2.0/24")
	if w.rangeNamed("small") != nil {
		t.Fatal("the range is still there, although another has its addresses")
	}
}
