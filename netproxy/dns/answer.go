package dns

import (
	"math/rand/v2"
	"net/netip"
	"strings"

	mdns "github.com/miekg/dns"

	"github.com/peapod-sh/peapod/netproxy"
)

// reply is what the zone knows of a name. A name that exists without records of the type asked for is
// found and empty.
type reply struct {
	found    bool
	answer   []mdns.RR
	extra    []mdns.RR
	alias    string // of an external name: where to go on
	shuffled bool   // clients are spread by the order of the answer
}

// owns reports whether a lower-case name belongs to the zone, that is, must not be asked of anybody else.
func (z *zone) owns(name string) bool {
	return mdns.IsSubDomain(z.domain, name)
}

// answer looks a lower-case name of the zone up.
func (z *zone) answer(name string, kind uint16) reply {
	rest := strings.TrimSuffix(strings.TrimSuffix(name, z.domain), ".")
	if rest == "" {
		return z.apex(name, kind)
	}
	labels := strings.Split(rest, ".")
	last := len(labels) - 1
	switch labels[last] {
	case "svc":
		return z.underSvc(name, labels[:last], kind)
	case "pod":
		return z.underPod(name, labels[:last], kind)
	case "dns-version":
		return z.version(name, last, kind)
	}
	return reply{}
}

func (z *zone) apex(name string, kind uint16) reply {
	r := reply{found: true}
	switch kind {
	case mdns.TypeSOA:
		r.answer = []mdns.RR{z.soa()}
	case mdns.TypeNS:
		r.answer = []mdns.RR{&mdns.NS{Hdr: header(name, mdns.TypeNS), Ns: "ns.dns." + z.domain}}
	}
	return r
}

// version is the record by which a client finds out that it talks to a cluster's DNS.
func (z *zone) version(name string, depth int, kind uint16) reply {
	r := reply{found: depth == 0}
	if r.found && kind == mdns.TypeTXT {
		r.answer = []mdns.RR{&mdns.TXT{Hdr: header(name, mdns.TypeTXT), Txt: []string{"1.1.0"}}}
	}
	return r
}

func (z *zone) underSvc(name string, labels []string, kind uint16) reply {
	switch len(labels) {
	case 0:
		return reply{found: true}
	case 1:
		return reply{found: z.namespaces[labels[0]]}
	}
	n := len(labels)
	s := z.services[labels[n-2]+"."+labels[n-1]]
	// The specification wants a headless service without endpoints not to exist.
	if s == nil || s.Headless && !anyPublished(s) {
		return reply{}
	}
	switch n {
	case 2:
		return z.service(name, s, kind)
	case 3:
		if labels[0] == "_tcp" || labels[0] == "_udp" {
			return reply{found: hasProtocol(s, labels[0])}
		}
		return z.endpoint(name, s, labels[0], kind)
	case 4:
		return z.ports(name, s, kind, func(p *netproxy.Port) bool {
			return protocolLabel(p) == labels[1] && p.Name != "" && "_"+strings.ToLower(p.Name) == labels[0]
		})
	}
	return reply{}
}

func (z *zone) service(name string, s *netproxy.Service, kind uint16) reply {
	if s.ExternalName != "" {
		if _, err := netip.ParseAddr(s.ExternalName); err == nil {
			return reply{found: true} // an address is no name, so there is no alias to it
		}
		target := mdns.Fqdn(s.ExternalName)
		return reply{
			found: true, alias: target,
			answer: []mdns.RR{&mdns.CNAME{Hdr: header(name, mdns.TypeCNAME), Target: target}},
		}
	}
	if kind == mdns.TypeSRV {
		r := z.ports(name, s, kind, func(*netproxy.Port) bool { return true })
		r.found = true
		return r
	}
	if !s.Headless {
		return reply{found: true, answer: addresses(name, kind, s.VIPs)}
	}
	var addrs []netip.Addr
	seen := map[netip.Addr]bool{} // an endpoint's ports may have hostnames of their own
	for _, e := range published(s) {
		if a := e.Address.Addr(); !seen[a] {
			seen[a] = true
			addrs = append(addrs, a)
		}
	}
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	return reply{found: true, answer: addresses(name, kind, addrs), shuffled: len(addrs) > 1}
}

// endpoint answers for one endpoint of a service by its hostname or dashed address.
func (z *zone) endpoint(name string, s *netproxy.Service, label string, kind uint16) reply {
	var r reply
	var addrs []netip.Addr
	for _, e := range published(s) {
		if endpointLabel(&e) == label {
			r.found = true
			addrs = append(addrs, e.Address.Addr())
		}
	}
	r.answer = addresses(name, kind, addrs)
	return r
}

// underPod answers a-b-c-d.namespace.pod. When the table knows the pods only theirs exist, since a name that anyone can
// make up for any address proves nothing. When it does not, every namespace has every address, also one without services,
// of which the table cannot know.
func (z *zone) underPod(name string, labels []string, kind uint16) reply {
	if len(labels) < 2 {
		return reply{found: len(labels) == 0 || z.namespaces[labels[0]]}
	}
	a, ok := undashed(labels[0])
	if !ok || len(labels) > 2 || len(z.pods) > 0 && z.pods[a] != labels[1] {
		return reply{}
	}
	return reply{found: true, answer: addresses(name, kind, []netip.Addr{a})}
}

// pointer answers for an address turned around; not found means that it is none of the cluster's.
func (z *zone) pointer(name string, kind uint16) reply {
	a, ok := turned(name)
	if !ok {
		return reply{}
	}
	var r reply
	for _, target := range z.reverse()[a] {
		r.found = true
		if kind == mdns.TypePTR {
			r.answer = append(r.answer, &mdns.PTR{Hdr: header(name, mdns.TypePTR), Ptr: target})
		}
	}
	return r
}

// turned reads 4.3.2.1.in-addr.arpa. and its long sister.
func turned(name string) (netip.Addr, bool) {
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		l := strings.Split(rest, ".")
		if len(l) != 4 {
			return netip.Addr{}, false
		}
		a, err := netip.ParseAddr(l[3] + "." + l[2] + "." + l[1] + "." + l[0])
		return a, err == nil
	}
	rest, ok := strings.CutSuffix(name, ".ip6.arpa.")
	if !ok || len(rest) != 63 {
		return netip.Addr{}, false
	}
	var b strings.Builder
	for i := 62; i >= 0; i -= 2 {
		b.WriteByte(rest[i])
		if i%8 == 0 && i > 0 {
			b.WriteByte(':')
		}
	}
	a, err := netip.ParseAddr(b.String())
	return a, err == nil
}

func (z *zone) soa() *mdns.SOA {
	return &mdns.SOA{
		Hdr: mdns.RR_Header{Name: z.domain, Rrtype: mdns.TypeSOA, Class: mdns.ClassINET, Ttl: negativeTTL},
		Ns:  "ns.dns." + z.domain, Mbox: "hostmaster." + z.domain,
		Serial: z.serial, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: negativeTTL,
	}
}

func header(name string, kind uint16) mdns.RR_Header {
	return mdns.RR_Header{Name: name, Rrtype: kind, Class: mdns.ClassINET, Ttl: recordTTL}
}

func addressType(a netip.Addr) uint16 {
	if a.Unmap().Is4() {
		return mdns.TypeA
	}
	return mdns.TypeAAAA
}

func addresses(name string, kind uint16, addrs []netip.Addr) (out []mdns.RR) {
	for _, a := range addrs {
		a = a.Unmap()
		switch {
		case addressType(a) != kind:
		case kind == mdns.TypeA:
			out = append(out, &mdns.A{Hdr: header(name, kind), A: a.AsSlice()})
		case kind == mdns.TypeAAAA:
			out = append(out, &mdns.AAAA{Hdr: header(name, kind), AAAA: a.AsSlice()})
		}
	}
	return out
}
