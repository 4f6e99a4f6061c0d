package reconcile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Where people write which addresses services of type LoadBalancer may have: networks, ranges (FIRST-LAST) and single addresses,
// with spaces, commas or new lines between them.
const (
	poolNamespace = "kube-system"
	poolName      = "peapod-load-balancer"
	poolField     = "addresses"
)

// poolRef names that object.
var poolRef = ref{ConfigMaps, poolNamespace, poolName}

// pool is addresses of either family to give away, in order.
type pool []addressRange

// addressRange is the addresses from first to last, both included and of one family.
type addressRange struct{ first, last netip.Addr }

// readPool returns the pool; false if nobody has written one. What cannot be read is passed over: a slip of the pen must not take
// the addresses of the rest away.
func (e *Engine) readPool() (p pool, there bool) {
	o := e.objects[poolRef]
	if o == nil {
		return nil, false
	}
	misread := ""
	for _, text := range strings.FieldsFunc(o.obj.(*corev1.ConfigMap).Data[poolField], func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		s, err := parseRange(text)
		if err != nil {
			misread = err.Error()
			continue
		}
		p = append(p, s)
	}
	if misread != "" && misread != e.misread {
		e.event(o.meta, corev1.SchemeGroupVersion.WithKind("ConfigMap"), corev1.EventTypeWarning, "InvalidAddresses", balancerComponent, misread)
	}
	e.misread = misread
	return p, len(p) > 0
}

// parseRange leaves out the network's own address and the broadcast address of a network that has them.
func parseRange(text string) (addressRange, error) {
	fault := fmt.Errorf("%q is not a network, range (FIRST-LAST) or address", text)
	if p, err := netip.ParsePrefix(text); err == nil {
		return rangeOf(p.Masked()), nil
	}
	from, to, ranged := strings.Cut(text, "-")
	if !ranged {
		to = from
	}
	first, err := netip.ParseAddr(from)
	if err != nil || first.Zone() != "" {
		return addressRange{}, fault
	}
	last, err := netip.ParseAddr(to)
	if err != nil || last.Is4() != first.Is4() || last.Zone() != "" || last.Less(first) {
		return addressRange{}, fault
	}
	return addressRange{first, last}, nil
}

// rangeOf is what a network has for services. The first address of IPv6 networks is that of any of their routers.
func rangeOf(p netip.Prefix) addressRange {
	first, end := p.Addr(), p.Addr().AsSlice()
	for bit := p.Bits(); bit < 8*len(end); bit++ {
		end[bit/8] |= 1 << (7 - bit%8)
	}
	last, _ := netip.AddrFromSlice(end)
	if first.BitLen()-p.Bits() > 1 {
		first = first.Next()
		if last.Is4() {
			last = last.Prev()
		}
	}
	return addressRange{first, last}
}

func familyOf(a netip.Addr) corev1.IPFamily {
	if a.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

func (p pool) has(ip netip.Addr) bool {
	for _, s := range p {
		if s.first.Compare(ip) <= 0 && ip.Compare(s.last) <= 0 {
			return true
		}
	}
	return false
}

// choose returns the wanted address of a family, or the first of it that is free if want is ""; or else why there is none.
func (p pool) choose(family corev1.IPFamily, want string, held map[netip.Addr]bool) (ip netip.Addr, lack string) {
	if want != "" {
		ip, err := netip.ParseAddr(want)
		switch {
		case err == nil && familyOf(ip) != family:
			return netip.Addr{}, fmt.Sprintf("the address %s is of a family that the service does not have", want)
		case err != nil || !p.has(ip):
			return netip.Addr{}, fmt.Sprintf("the address %s is not in the pool of ConfigMap %s/%s", want, poolNamespace, poolName)
		case held[ip]:
			return netip.Addr{}, fmt.Sprintf("the address %s is taken", want)
		}
		return ip, ""
	}
	some := false
	for _, s := range p {
		if familyOf(s.first) != family {
			continue
		}
		some = true
		for ip := s.first; ip.IsValid() && ip.Compare(s.last) <= 0; ip = ip.Next() {
			if !held[ip] {
				return ip, ""
			}
		}
	}
	if !some {
		return netip.Addr{}, fmt.Sprintf("the pool of ConfigMap %s/%s has no addresses of %s", poolNamespace, poolName, family)
	}
	return netip.Addr{}, fmt.Sprintf("every address of the pool of ConfigMap %s/%s is taken", poolNamespace, poolName)
}

// hasFamily says whether there is any address of it.
func (p pool) hasFamily(f corev1.IPFamily) bool {
	return slices.ContainsFunc(p, func(s addressRange) bool { return familyOf(s.first) == f })
}
