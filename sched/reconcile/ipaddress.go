package reconcile

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// addressKeeper is what marks the IPAddress objects that this controller writes, and never another's. It is Kubernetes' name for it.
const addressKeeper = "ipallocator.k8s.io"

// noticedAddresses notes which service holds which address. No two do (Invariant 5).
func (e *Engine) noticedAddresses(old, o *object) {
	for _, ip := range addressesOf(old) {
		if e.holders[ip] == old.ref {
			delete(e.holders, ip)
		}
		e.mark(key{area: areaAddress, name: ip})
	}
	for _, ip := range addressesOf(o) {
		e.holders[ip] = o.ref
		e.mark(key{area: areaAddress, name: ip})
	}
}

// addressesOf are the cluster's addresses that a service has; o may be nil.
func addressesOf(o *object) (out []string) {
	if o == nil {
		return nil
	}
	for _, ip := range o.obj.(*corev1.Service).Spec.ClusterIPs {
		if _, err := netip.ParseAddr(ip); err == nil { // else it is the word None
			out = append(out, ip)
		}
	}
	return out
}

// syncAddress writes an IPAddress object for an address that a service holds, and deletes its own when none does.
func (e *Engine) syncAddress(k key) {
	o := e.object(IPAddresses, "", k.name)
	holder, held := e.holders[k.name]
	switch {
	case held && o == nil:
		e.put(IPAddresses, e.newAddress(k.name, holder), 0)
	case o == nil || o.meta.GetLabels()[networkingv1.LabelManagedBy] != addressKeeper:
	case !held || !refersTo(o.obj.(*networkingv1.IPAddress), holder):
		e.deleteObject(o, "") // a held one is made anew when it is gone
	}
}

func (e *Engine) newAddress(name string, holder ref) *networkingv1.IPAddress {
	family := corev1.IPv4Protocol
	if ip, err := netip.ParseAddr(name); err == nil && ip.Is6() {
		family = corev1.IPv6Protocol
	}
	out := &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			networkingv1.LabelIPAddressFamily: string(family), networkingv1.LabelManagedBy: addressKeeper}},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: holder.ns, Name: holder.name}},
	}
	e.stamp(&out.ObjectMeta)
	out.Generation = 0
	return out
}

func refersTo(ip *networkingv1.IPAddress, r ref) bool {
	p := ip.Spec.ParentRef
	return p != nil && *p == networkingv1.ParentReference{Group: r.gr.Group, Resource: r.gr.Resource, Namespace: r.ns, Name: r.name}
}
