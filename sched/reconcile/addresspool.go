package reconcile

import (
	"fmt"
	"net/netip"
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

// pool is IPv4 addresses to give away, in order.
type pool []addressRange

// addressRange is the addresses from first to last, both included.
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
	fault := fmt.Errorf("%q is not an IPv4 network, range (FIRST-LAST) or address", text)
	if p, err := netip.ParsePrefix(text); err == nil && p.Addr().Is4() {
		first := p.Masked().Addr()
		last := addressOfBits(bitsOf(first) | (1<<(32-p.Bits()) - 1))
		if p.Bits() < 31 {
			first, last = first.Next(), last.Prev()
		}
		return addressRange{first, last}, nil
	}
	from, to, ranged := strings.Cut(text, "-")
	if !ranged {
		to = from
	}
	first, err := netip.ParseAddr(from)
	if err != nil || !first.Is4() {
		return addressRange{}, fault
	}
	last, err := netip.ParseAddr(to)
	if err != nil || !last.Is4() || last.Less(first) {
		return addressRange{}, fault
	}
	return addressRange{first, last}, nil
}

func bitsOf(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func addressOfBits(v uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

func (p pool) has(ip netip.Addr) bool {
	for _, s := range p {
		if s.first.Compare(ip) <= 0 && ip.Compare(s.last) <= 0 {
			return true
		}
	}
	return false
}

// choose returns the wanted address, or the first that is free if want is ""; or else why there is none.
func (p pool) choose(want string, held map[netip.Addr]bool) (ip netip.Addr, lack string) {
	if want != "" {
		ip, err := netip.ParseAddr(want)
		switch {
		case err != nil || !p.has(ip):
			return netip.Addr{}, fmt.Sprintf("the address %s is not in the pool of ConfigMap %s/%s", want, poolNamespace, poolName)
		case held[ip]:
			return netip.Addr{}, fmt.Sprintf("the address %s is taken", want)
		}
		return ip, ""
	}
	for _, s := range p {
		for ip := s.first; ip.Compare(s.last) <= 0; ip = ip.Next() {
			if !held[ip] {
				return ip, ""
			}
		}
	}
	return netip.Addr{}, fmt.Sprintf("every address of the pool of ConfigMap %s/%s is taken", poolNamespace, poolName)
}
