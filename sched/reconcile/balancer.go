package reconcile

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
)

// balancerComponent is whose events those about addresses of services are.
const balancerComponent = "load-balancer-controller"

// balancing is what is kept of the services of type LoadBalancer.
type balancing struct {
	balancers map[types.NamespacedName]struct{} // of that type, or with traces of having been
	lacks     map[types.NamespacedName]string   // what was said last of why a service has no address
	misread   string                            // what was said last of the pool
}

func newBalancing() balancing {
	return balancing{balancers: map[types.NamespacedName]struct{}{}, lacks: map[types.NamespacedName]string{}}
}

// balancerKey is one for all: who gets an address, and which node announces it, depends on all the others.
func balancerKey() key { return key{area: areaBalancer} }

// markBalancers looks at all addresses again; it costs nothing in a cluster without any.
func (e *Engine) markBalancers() {
	if len(e.balancers) > 0 {
		e.mark(balancerKey())
	}
}

func (e *Engine) noticedBalancer(old, o *object) {
	some := o
	if o == nil {
		some = old
	}
	n := types.NamespacedName{Namespace: some.ns, Name: some.name}
	e.markBalancers()
	if o == nil || !concernsBalancing(o.obj.(*corev1.Service)) {
		delete(e.balancers, n)
		delete(e.lacks, n)
		return
	}
	e.balancers[n] = struct{}{}
	e.markBalancers()
}

func concernsBalancing(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer || s.Annotations[api.BalancerNodeAnnotation] != ""
}

// balanced is a service with the address and the node that it is to have.
type balanced struct {
	o    *object
	svc  *corev1.Service
	ours bool       // not another implementation's
	ip   netip.Addr // not valid: none
	node string
}

// syncBalancers gives services addresses of the pool and each address a node that announces it. What is held stays held, so that of
// the same objects always the same comes out.
func (e *Engine) syncBalancers(key) {
	p, there := e.readPool()
	all := e.balancedServices(there)
	held := e.heldAddresses(all, p, there)
	for _, b := range all {
		if b.ours && there && !b.ip.IsValid() {
			e.giveAddress(b, p, held)
		}
	}
	e.giveNodes(all)
	for _, b := range all {
		e.writeBalanced(b)
	}
}

// balancedServices are all, the oldest first, so that of two that want one address the older has it.
func (e *Engine) balancedServices(pooled bool) (out []*balanced) {
	for n := range e.balancers {
		o := e.object(Services, n.Namespace, n.Name)
		s := o.obj.(*corev1.Service)
		b := &balanced{o: o, svc: s, node: s.Annotations[api.BalancerNodeAnnotation]}
		// Without a pool only what this controller gave earlier is its own.
		b.ours = isBalanced(s) && (pooled || b.node != "")
		if in := s.Status.LoadBalancer.Ingress; len(in) > 0 {
			b.ip, _ = netip.ParseAddr(in[0].IP)
		}
		out = append(out, b)
	}
	slices.SortFunc(out, func(a, b *balanced) int {
		if c := a.svc.CreationTimestamp.Compare(b.svc.CreationTimestamp.Time); c != 0 {
			return c
		}
		return compareRefs(a.o.ref, b.o.ref)
	})
	return out
}

func isBalanced(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && (s.Spec.LoadBalancerClass == nil || *s.Spec.LoadBalancerClass == api.BalancerClass)
}

// heldAddresses takes from services what they may not keep and returns who has what: nodes their addresses, other implementations
// what they gave, then the oldest.
func (e *Engine) heldAddresses(all []*balanced, p pool, pooled bool) map[netip.Addr]bool {
	held := map[netip.Addr]bool{}
	for _, o := range e.list("", Nodes) {
		for _, a := range o.obj.(*corev1.Node).Status.Addresses {
			if ip, err := netip.ParseAddr(a.Address); err == nil {
				held[ip] = true
			}
		}
	}
	for _, b := range all {
		if !b.ours || b.departing() {
			for _, in := range b.svc.Status.LoadBalancer.Ingress {
				if ip, err := netip.ParseAddr(in.IP); err == nil {
					held[ip] = true
				}
			}
		}
	}
	for _, b := range all {
		if !b.ours || b.departing() || !b.ip.IsValid() {
			continue
		}
		if want := b.svc.Spec.LoadBalancerIP; held[b.ip] || pooled && !p.has(b.ip) || want != "" && want != b.ip.String() {
			b.ip = netip.Addr{}
			continue
		}
		held[b.ip] = true
	}
	return held
}

// departing services keep what they have until they are gone.
func (b *balanced) departing() bool { return b.svc.DeletionTimestamp != nil }

// giveAddress gives the address that the service asks for, or the first that is free, and says if there is none.
func (e *Engine) giveAddress(b *balanced, p pool, held map[netip.Addr]bool) {
	if b.departing() {
		return
	}
	n := types.NamespacedName{Namespace: b.o.ns, Name: b.o.name}
	ip, lack := p.choose(b.svc.Spec.LoadBalancerIP, held)
	if lack != "" {
		if e.lacks[n] != lack {
			e.lacks[n] = lack
			e.event(b.svc, serviceKind, corev1.EventTypeWarning, "AllocationFailed", balancerComponent, lack)
		}
		return
	}
	delete(e.lacks, n)
	held[ip] = true
	b.ip = ip
	e.event(b.svc, serviceKind, corev1.EventTypeNormal, "IPAllocated", balancerComponent, fmt.Sprintf("Assigned IP %q", ip))
}

// giveNodes leaves addresses where they are announced while that node may, and spreads the others.
func (e *Engine) giveNodes(all []*balanced) {
	load := map[string]int{}
	nodes := e.announcers()
	var homeless []*balanced
	for _, b := range all {
		switch {
		case !b.ours || !b.ip.IsValid():
		case slices.Contains(e.fitting(b, nodes), b.node):
			load[b.node]++
		default:
			homeless = append(homeless, b)
		}
	}
	for _, b := range homeless {
		best := ""
		for _, n := range e.fitting(b, nodes) {
			if best == "" || load[n] < load[best] {
				best = n
			}
		}
		if best == "" {
			continue // it stays with the node that was, in case that returns
		}
		load[best]++
		b.node = best
		e.event(b.svc, serviceKind, corev1.EventTypeNormal, "NodeAssigned", balancerComponent, fmt.Sprintf("%s is announced by node %s", b.ip, best))
	}
}

// announcers are the nodes that live and are not set apart, by name.
func (e *Engine) announcers() (out []string) {
	for _, o := range e.list("", Nodes) {
		n := o.obj.(*corev1.Node)
		c := nodeCondition(n, corev1.NodeReady)
		_, apart := n.Labels[corev1.LabelNodeExcludeBalancers]
		if !e.nodeDown(o.name) && n.DeletionTimestamp == nil && !apart && c != nil && c.Status == corev1.ConditionTrue {
			out = append(out, o.name)
		}
	}
	return out
}

// fitting are the nodes that may announce the service: of a local policy those with endpoints, if there are any.
func (e *Engine) fitting(b *balanced, nodes []string) []string {
	s := e.services[types.NamespacedName{Namespace: b.o.ns, Name: b.o.name}]
	if b.svc.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal || s == nil {
		return nodes
	}
	with := map[string]bool{}
	for _, p := range s.members {
		if e.ready(p) && !p.deleting() {
			with[p.rec.Node] = true
		}
	}
	var out []string
	for _, n := range nodes {
		if with[n] {
			out = append(out, n)
		}
	}
	if len(out) == 0 {
		return nodes
	}
	return out
}

// writeBalanced writes status and node of a service where they differ from what they are to be.
func (e *Engine) writeBalanced(b *balanced) {
	if b.departing() || e.written[b.o.ref] || !b.ours && (isBalanced(b.svc) || b.node == "") {
		return
	}
	var status corev1.LoadBalancerStatus
	node := ""
	if b.ours && b.ip.IsValid() {
		mode := corev1.LoadBalancerIPModeVIP
		status.Ingress = []corev1.LoadBalancerIngress{{IP: b.ip.String(), IPMode: &mode}}
		node = b.node
	}
	if equality.Semantic.DeepEqual(status, b.svc.Status.LoadBalancer) && node == b.svc.Annotations[api.BalancerNodeAnnotation] {
		return
	}
	c := b.svc.DeepCopy()
	c.Status.LoadBalancer = status
	if delete(c.Annotations, api.BalancerNodeAnnotation); node != "" {
		metav1.SetMetaDataAnnotation(&c.ObjectMeta, api.BalancerNodeAnnotation, node)
	}
	e.put(Services, c, b.o.rev)
}
