package reconcile

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

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

// balanced is a service with the addresses and the node that it is to have.
type balanced struct {
	o    *object
	svc  *corev1.Service
	ours bool         // not another implementation's
	ips  []netip.Addr // at most one of each of its families
	node string
}

// syncBalancers gives services addresses of the pool and each address a node that announces it. What is held stays held, so that of
// the same objects always the same comes out.
func (e *Engine) syncBalancers(key) {
	p, there := e.readPool()
	all := e.balancedServices(there)
	held := e.heldAddresses(all, p, there)
	for _, b := range all {
		if b.ours && there {
			e.giveAddresses(b, p, held)
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
		b.ips = balancerIPs(s)
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

// balancerIPs are those that a service has been given.
func balancerIPs(s *corev1.Service) (out []netip.Addr) {
	for _, in := range s.Status.LoadBalancer.Ingress {
		if ip, err := netip.ParseAddr(in.IP); err == nil {
			out = append(out, ip)
		}
	}
	return out
}

// families are those of a service, the first first.
func (b *balanced) families() []corev1.IPFamily {
	if len(b.svc.Spec.IPFamilies) == 0 {
		return []corev1.IPFamily{corev1.IPv4Protocol}
	}
	return b.svc.Spec.IPFamilies
}

// of is the service's address of a family; not valid if it has none.
func (b *balanced) of(f corev1.IPFamily) netip.Addr {
	for _, ip := range b.ips {
		if familyOf(ip) == f {
			return ip
		}
	}
	return netip.Addr{}
}

// wants is the address of a family that the service asks for, or "". One that is of none of its families stands for the first.
func (b *balanced) wants(f corev1.IPFamily) string {
	want, families := b.svc.Spec.LoadBalancerIP, b.families()
	ip, err := netip.ParseAddr(want)
	if known := err == nil && slices.Contains(families, familyOf(ip)); want == "" || known && familyOf(ip) != f || !known && f != families[0] {
		return ""
	}
	return want
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
			for _, ip := range b.ips {
				held[ip] = true
			}
		}
	}
	for _, b := range all {
		if !b.ours || b.departing() {
			continue
		}
		kept := []netip.Addr(nil)
		for _, f := range b.families() {
			ip, want := b.of(f), b.wants(f)
			if ip.IsValid() && !held[ip] && (!pooled || p.has(ip)) && (want == "" || want == ip.String()) {
				kept = append(kept, ip)
				held[ip] = true
			}
		}
		b.ips = kept
	}
	return held
}

// departing services keep what they have until they are gone.
func (b *balanced) departing() bool { return b.svc.DeletionTimestamp != nil }

// giveAddresses gives the addresses that the service asks for, or the first of its families that are free, and says if there is none.
func (e *Engine) giveAddresses(b *balanced, p pool, held map[netip.Addr]bool) {
	if b.departing() {
		return
	}
	n := types.NamespacedName{Namespace: b.o.ns, Name: b.o.name}
	lacks, given := "", []netip.Addr(nil)
	for _, f := range b.families() {
		ip, lack := b.of(f), ""
		if !ip.IsValid() && !b.spares(f, p) {
			if ip, lack = p.choose(f, b.wants(f), held); lack == "" {
				held[ip] = true
				e.event(b.svc, serviceKind, corev1.EventTypeNormal, "IPAllocated", balancerComponent, fmt.Sprintf("Assigned IP %q", ip))
			}
		}
		if ip.IsValid() {
			given = append(given, ip)
		}
		lacks = cmp.Or(lacks, lack)
	}
	b.ips = given
	if lacks != "" && e.lacks[n] != lacks {
		e.event(b.svc, serviceKind, corev1.EventTypeWarning, "AllocationFailed", balancerComponent, lacks)
	}
	if e.lacks[n] = lacks; lacks == "" {
		delete(e.lacks, n)
	}
}

// spares says that a service does without a family: it has two and need not, and the pool has only the other.
func (b *balanced) spares(f corev1.IPFamily, p pool) bool {
	policy := b.svc.Spec.IPFamilyPolicy
	return len(b.families()) > 1 && policy != nil && *policy == corev1.IPFamilyPolicyPreferDualStack && !p.hasFamily(f) && b.wants(f) == "" &&
		slices.ContainsFunc(b.families(), p.hasFamily)
}

// giveNodes leaves addresses where they are announced while that node may, and spreads the others.
func (e *Engine) giveNodes(all []*balanced) {
	load := map[string]int{}
	nodes := e.announcers()
	var homeless []*balanced
	for _, b := range all {
		switch {
		case !b.ours || len(b.ips) == 0:
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
		e.event(b.svc, serviceKind, corev1.EventTypeNormal, "NodeAssigned", balancerComponent, fmt.Sprintf("%s is announced by node %s", joined(b.ips), best))
	}
}

func joined(ips []netip.Addr) string {
	var out []string
	for _, ip := range ips {
		out = append(out, ip.String())
	}
	return strings.Join(out, " and ")
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
	if b.ours && len(b.ips) > 0 {
		mode := corev1.LoadBalancerIPModeVIP
		for _, ip := range b.ips {
			status.Ingress = append(status.Ingress, corev1.LoadBalancerIngress{IP: ip.String(), IPMode: &mode})
		}
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
