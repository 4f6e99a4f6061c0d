package kube

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
)

// allocator gives services their addresses and ports: a random free one as the local state knows
// it. It keeps nothing. The store refuses doubles when a write is applied, and the write is then
// tried again (services.Create), so a dry run takes nothing and a lost server loses nothing.
type allocator struct {
	store      Store
	cidr       netip.Prefix
	cidr6      netip.Prefix // of the second family; not valid in clusters of one
	dnsAddress netip.Addr
	nodePorts  PortRange
}

// inUse is what all services but one hold, and others have reserved.
type inUse struct {
	addresses map[string]bool
	ports     map[int32]bool
}

func (a *allocator) inUse(except *corev1.Service) inUse {
	u := inUse{a.reserved(), map[int32]bool{}}
	a.store.Snapshot(servicesResource).Ascend("", "", func(ns, name string, o runtime.Object) bool {
		s, ok := o.(*corev1.Service)
		if !ok || ns == except.Namespace && name == except.Name {
			return true
		}
		for _, ip := range s.Spec.ClusterIPs {
			u.addresses[ip] = true
		}
		u.addresses[s.Spec.ClusterIP] = true
		for _, p := range portsOf(s) {
			u.ports[p] = true
		}
		return true
	})
	return u
}

// reserved are the addresses that somebody has written an IPAddress for. Those of services are written by the cluster itself, after the
// services (sched/reconcile/ipaddress.go), and say nothing new.
func (a *allocator) reserved() map[string]bool {
	out := map[string]bool{}
	a.store.Snapshot(addressesResource).Ascend("", "", func(_, name string, o runtime.Object) bool {
		if ip, ok := o.(*networkingv1.IPAddress); ok && ip.Labels[networkingv1.LabelManagedBy] == "" {
			out[name] = true
		}
		return true
	})
	return out
}

// portsOf lists the ports that a service holds on every node.
func portsOf(s *corev1.Service) []int32 {
	var out []int32
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 {
			out = append(out, p.NodePort)
		}
	}
	if s.Spec.HealthCheckNodePort != 0 {
		out = append(out, s.Spec.HealthCheckNodePort)
	}
	return out
}

// fill gives the service, which may exist already, what it lacks. What cannot be had stays empty, and faults reports it.
func (a *allocator) fill(s *corev1.Service, exists bool) {
	u := a.inUse(s)
	if wantsAddress(s) {
		a.settleFamilies(s, exists)
		a.fillAddresses(s, u)
	}
	for _, p := range portsOf(s) {
		u.ports[p] = true
	}
	if wantsPorts(s) {
		byPort := map[int32]int32{} // the same port of TCP and UDP gets the same node port
		for i := range s.Spec.Ports {
			p := &s.Spec.Ports[i]
			if p.NodePort == 0 {
				p.NodePort = byPort[p.Port]
			}
			if p.NodePort == 0 {
				p.NodePort = a.port(u)
				u.ports[p.NodePort] = true
			}
			byPort[p.Port] = p.NodePort
		}
	}
	if wantsHealthPort(s) && s.Spec.HealthCheckNodePort == 0 {
		s.Spec.HealthCheckNodePort = a.port(u)
	}
}

func wantsAddress(s *corev1.Service) bool { return s.Spec.Type != corev1.ServiceTypeExternalName }

func wantsPorts(s *corev1.Service) bool {
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeLoadBalancer:
		return s.Spec.AllocateLoadBalancerNodePorts == nil || *s.Spec.AllocateLoadBalancerNodePorts
	}
	return false
}

func wantsHealthPort(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// address is a random free address of a family; the cluster's own two services have theirs.
func (a *allocator) address(s *corev1.Service, f corev1.IPFamily, u inUse) string {
	switch name := s.Namespace + "/" + s.Name; {
	case name == "default/kubernetes" && f == corev1.IPv4Protocol:
		return addressAt(a.cidr, 1).String()
	case name == dnsService && f == corev1.IPv4Protocol:
		return a.dnsAddress.String()
	case name == dnsService && a.cidr6.IsValid():
		return addressAt(a.cidr6, dnsPlace).String()
	}
	return a.free(f, u)
}

const (
	// dnsPlace is that of the cluster's DNS in the network of services.
	dnsPlace = 10
	// dnsService is the one that has its address elsewhere.
	dnsService = "kube-system/kube-dns"
)

// isDNS says whether an address is kept for the cluster's DNS.
func (a *allocator) isDNS(ip netip.Addr) bool {
	return ip == a.dnsAddress || a.cidr6.IsValid() && ip == addressAt(a.cidr6, dnsPlace)
}

// free is a random free address of a family; "" if there is none.
func (a *allocator) free(family corev1.IPFamily, u inUse) string {
	for _, cidr := range a.ranges() {
		if familyOf(cidr.Addr()) != family {
			continue
		}
		if ip := a.addressOf(cidr, u); ip != "" {
			return ip
		}
	}
	return ""
}

// addressOf is a random free address of one range; "" if it is full.
func (a *allocator) addressOf(cidr netip.Prefix, u inUse) string {
	first, rest := uint32(1), uint32(2) // not the network and the broadcast address
	if cidr == a.cidr {
		first, rest = 2, 3 // nor that of the API
	}
	size := uint64(1) << min(cidr.Addr().BitLen()-cidr.Bits(), 31) // of an IPv6 network the first will do
	if size <= uint64(rest) {
		return ""
	}
	usable := uint32(size - uint64(rest))
	start := rand.Uint32N(usable)
	for i := range usable {
		ip := addressAt(cidr, first+uint32((uint64(start)+uint64(i))%uint64(usable)))
		if !a.isDNS(ip) && !u.addresses[ip.String()] {
			return ip.String()
		}
	}
	return ""
}

// ranges are where addresses come from: the ranges that the cluster was founded with, then others that are ready and stay, by name. Only
// families that the cluster was founded with are given.
func (a *allocator) ranges() []netip.Prefix {
	out := []netip.Prefix{a.cidr}
	if a.cidr6.IsValid() {
		out = append(out, a.cidr6)
	}
	a.store.Snapshot(serviceRangesResource).Ascend("", "", func(_, _ string, o runtime.Object) bool {
		c, ok := o.(*networkingv1.ServiceCIDR)
		if !ok || c.DeletionTimestamp != nil || !meta.IsStatusConditionTrue(c.Status.Conditions, networkingv1.ServiceCIDRConditionReady) {
			return true
		}
		for _, text := range c.Spec.CIDRs {
			if p, err := netip.ParsePrefix(text); err == nil && (p.Addr().Is4() || a.cidr6.IsValid()) && p != a.cidr && p != a.cidr6 {
				out = append(out, p.Masked())
			}
		}
		return true
	})
	return out
}

func (a *allocator) port(u inUse) int32 {
	n := a.nodePorts.Last - a.nodePorts.First + 1
	start := rand.Int32N(n)
	for i := range n {
		if p := a.nodePorts.First + (start+i)%n; !u.ports[p] {
			return p
		}
	}
	return 0
}

// faults reports addresses and ports that the service cannot have; old is nil on create.
func (a *allocator) faults(s, old *corev1.Service) field.ErrorList {
	u := a.inUse(s)
	spec := field.NewPath("spec")
	var errs field.ErrorList
	if wantsAddress(s) {
		errs = append(errs, a.familyFaults(s, spec)...)
		errs = append(errs, a.addressFaults(s, old, u, spec.Child("clusterIPs"))...)
	}
	held := map[int32]bool{}
	if old != nil {
		for _, p := range portsOf(old) {
			held[p] = true
		}
	}
	for i, p := range s.Spec.Ports {
		if held[p.NodePort] || p.NodePort == 0 && !wantsPorts(s) {
			continue
		}
		errs = append(errs, a.portFault(p.NodePort, u, spec.Child("ports").Index(i).Child("nodePort"))...)
	}
	if h := s.Spec.HealthCheckNodePort; h != 0 && !held[h] {
		errs = append(errs, a.portFault(h, u, spec.Child("healthCheckNodePort"))...)
	}
	return errs
}

func (a *allocator) addressFault(ip string, u inUse, path *field.Path) field.ErrorList {
	if ip == corev1.ClusterIPNone {
		return nil
	}
	if ip == "" {
		return field.ErrorList{field.InternalError(path, fmt.Errorf("failed to allocate a serviceIP: range %s is full", rangesText(a.ranges())))}
	}
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return nil // the kind's own validation says so
	}
	ranges := a.ranges()
	if !slices.ContainsFunc(ranges, func(r netip.Prefix) bool { return r.Contains(addr) && addr != r.Addr() }) {
		return field.ErrorList{field.Invalid(path, []string{ip}, fmt.Sprintf("failed to allocate IP %s: the provided IP (%s) is not in the valid range. The range of valid IPs is %s", ip, ip, rangesText(ranges)))}
	}
	if u.addresses[ip] {
		return field.ErrorList{field.Invalid(path, []string{ip}, fmt.Sprintf("failed to allocate IP %s: provided IP is already allocated", ip))}
	}
	return nil
}

func rangesText(ranges []netip.Prefix) string {
	var out []string
	for _, r := range ranges {
		out = append(out, r.String())
	}
	return strings.Join(out, ", ")
}

func (a *allocator) portFault(p int32, u inUse, path *field.Path) field.ErrorList {
	switch {
	case p == 0:
		return field.ErrorList{field.InternalError(path, fmt.Errorf("failed to allocate a nodePort: range %s is full", a.nodePorts))}
	case !a.nodePorts.Has(p):
		return field.ErrorList{field.Invalid(path, p, "provided port is not in the valid range. The range of valid ports is "+a.nodePorts.String())}
	case u.ports[p]:
		return field.ErrorList{field.Invalid(path, p, "provided port is already allocated")}
	}
	return nil
}

// serviceStrategy allocates after the generic strategy has settled what the service keeps, and
// reports what cannot be had together with all other faults.
type serviceStrategy struct {
	strategy
	alloc *allocator
}

func (s serviceStrategy) PrepareForCreate(ctx context.Context, obj runtime.Object) {
	s.strategy.PrepareForCreate(ctx, obj)
	s.alloc.fill(obj.(*corev1.Service), false)
	// What the kind derives from the address (clusterIPs, families) it derives again.
	if s.kind.PrepareForCreate != nil {
		s.kind.PrepareForCreate(obj)
	}
}

func (s serviceStrategy) PrepareForUpdate(ctx context.Context, obj, old runtime.Object) {
	s.strategy.PrepareForUpdate(ctx, obj, old)
	s.alloc.fill(obj.(*corev1.Service), true)
}

func (s serviceStrategy) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	return append(s.strategy.Validate(ctx, obj), s.alloc.faults(obj.(*corev1.Service), nil)...)
}

func (s serviceStrategy) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	return append(s.strategy.ValidateUpdate(ctx, obj, old), s.alloc.faults(obj.(*corev1.Service), old.(*corev1.Service))...)
}

// services tries again with another address or port when the one it chose was given away by
// another server in the same moment. One that the user chose is refused the second time round.
type services struct{ resource }

func newServices(r resource, alloc *allocator) services {
	st := serviceStrategy{newStrategy(r.kind), alloc}
	r.Store.CreateStrategy, r.Store.UpdateStrategy = st, st
	return services{r}
}

func (s services) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, o *metav1.CreateOptions) (runtime.Object, error) {
	return untilFree(func() (runtime.Object, error) { return s.Store.Create(ctx, obj.DeepCopyObject(), validate, o) })
}

func (s services) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, force bool, o *metav1.UpdateOptions) (out runtime.Object, made bool, err error) {
	out, err = untilFree(func() (obj runtime.Object, err error) {
		obj, made, err = s.Store.Update(ctx, name, info, create, update, force, o)
		return obj, err
	})
	return out, made, err
}

func untilFree(write func() (runtime.Object, error)) (runtime.Object, error) {
	for range allocationAttemptsMax {
		out, err := write()
		var taken *takenError
		if !errors.As(err, &taken) {
			return out, err
		}
	}
	return nil, apierrors.NewServerTimeout(servicesResource, "allocate an address or port for", 1)
}

// addressAt is the n-th address of a network, counted from its network address.
func addressAt(p netip.Prefix, n uint32) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	low := b[len(b)-4:]
	binary.BigEndian.PutUint32(low, binary.BigEndian.Uint32(low)+n)
	out, _ := netip.AddrFromSlice(b)
	return out
}

var _ rest.RESTCreateStrategy = serviceStrategy{}
