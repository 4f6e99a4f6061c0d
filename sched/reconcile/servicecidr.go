package reconcile

import (
	"net/netip"
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// rangeFinalizer holds a range of service addresses while services have addresses of it that no other range has.
const rangeFinalizer = "networking.k8s.io/service-cidr-finalizer"

// markRanges looks at all ranges again: one that comes or goes decides whether another may go.
func (e *Engine) markRanges() {
	for _, o := range e.list("", ServiceCIDRs) {
		e.mark(key{area: areaRange, name: o.name})
	}
}

// markLeavingRanges looks at those that wait for their services.
func (e *Engine) markLeavingRanges() {
	for _, o := range e.list("", ServiceCIDRs) {
		if o.meta.GetDeletionTimestamp() != nil {
			e.mark(key{area: areaRange, name: o.name})
		}
	}
}

// syncRange declares a range ready, and lets a deleted one go once no service would lose its address.
func (e *Engine) syncRange(k key) {
	o := e.object(ServiceCIDRs, "", k.name)
	if o == nil || e.written[o.ref] {
		return
	}
	held := slices.Contains(o.meta.GetFinalizers(), rangeFinalizer)
	if leaving := o.meta.GetDeletionTimestamp(); leaving == nil {
		e.readyRange(o, held)
	} else if held {
		e.leaveRange(o, leaving.Add(rangePause))
	}
}

func (e *Engine) readyRange(o *object, held bool) {
	c := o.obj.(*networkingv1.ServiceCIDR).DeepCopy()
	if !held {
		c.Finalizers = append(c.Finalizers, rangeFinalizer)
	}
	ready := meta.IsStatusConditionTrue(c.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
	if !ready {
		e.setRangeReady(c, metav1.ConditionTrue, "", "Kubernetes Service CIDR is ready")
	}
	if !held || !ready {
		e.put(ServiceCIDRs, c, o.rev)
	}
}

func (e *Engine) leaveRange(o *object, at time.Time) {
	c := o.obj.(*networkingv1.ServiceCIDR)
	switch {
	case e.rangeInUse(c):
		c = c.DeepCopy()
		if e.setRangeReady(c, metav1.ConditionFalse, networkingv1.ServiceCIDRReasonTerminating,
			"There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR") {
			e.put(ServiceCIDRs, c, o.rev)
		}
	case at.After(e.now):
		e.wake(key{area: areaRange, name: o.name}, at)
	default:
		e.dropFinalizer(o.meta.GetUID(), rangeFinalizer)
	}
}

func (e *Engine) setRangeReady(c *networkingv1.ServiceCIDR, s metav1.ConditionStatus, reason, message string) (changed bool) {
	return meta.SetStatusCondition(&c.Status.Conditions, metav1.Condition{Type: networkingv1.ServiceCIDRConditionReady, Status: s,
		Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(e.now.Truncate(time.Second))})
}

// rangeInUse says whether a service has an address of the range that no other range has.
func (e *Engine) rangeInUse(c *networkingv1.ServiceCIDR) bool {
	var others []netip.Prefix
	for _, o := range e.list("", ServiceCIDRs) {
		if o.name != c.Name {
			others = append(others, prefixesOf(o.obj.(*networkingv1.ServiceCIDR))...)
		}
	}
	mine := prefixesOf(c)
	if !slices.ContainsFunc(mine, func(p netip.Prefix) bool { return !within(p, others) }) {
		return false
	}
	for text := range e.holders {
		ip, err := netip.ParseAddr(text)
		if err == nil && within(netip.PrefixFrom(ip, ip.BitLen()), mine) && !within(netip.PrefixFrom(ip, ip.BitLen()), others) {
			return true
		}
	}
	return false
}

func prefixesOf(c *networkingv1.ServiceCIDR) (out []netip.Prefix) {
	for _, text := range c.Spec.CIDRs {
		if p, err := netip.ParsePrefix(text); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// within says whether one of the ranges has all of p.
func within(p netip.Prefix, ranges []netip.Prefix) bool {
	return slices.ContainsFunc(ranges, func(r netip.Prefix) bool { return r.Bits() <= p.Bits() && r.Contains(p.Addr()) })
}
