package dns

import (
	"net/netip"

	mdns "github.com/miekg/dns"

	"github.com/peapod-sh/peapod/netproxy"
)

// ports answers with an SRV record a port that matches, and for a headless service one an endpoint too.
func (z *zone) ports(name string, s *netproxy.Service, kind uint16, match func(*netproxy.Port) bool) reply {
	var r reply
	seen := map[target]bool{}
	for i := range s.Ports {
		p := &s.Ports[i]
		if !match(p) {
			continue
		}
		r.found = true
		switch {
		case kind != mdns.TypeSRV:
		case s.Headless:
			z.endpointPorts(&r, name, s, p, seen)
		default:
			r.answer = append(r.answer, srv(name, z.serviceName(s), p.Port))
		}
	}
	if len(r.answer) > 0 && !s.Headless {
		r.extra = append(addresses(z.serviceName(s), mdns.TypeA, s.VIPs), addresses(z.serviceName(s), mdns.TypeAAAA, s.VIPs)...)
	}
	return r
}

// target is what a record leads to: a name's port or a name's address. Endpoints may share a hostname.
type target struct {
	name string
	port uint16
	addr netip.Addr
}

// endpointPorts adds what was not seen yet: a record a hostname that has the port, and its addresses.
func (z *zone) endpointPorts(r *reply, name string, s *netproxy.Service, p *netproxy.Port, seen map[target]bool) {
	isNew := func(t target) bool {
		was := seen[t]
		seen[t] = true
		return !was
	}
	for _, e := range p.Endpoints {
		if !visible(s, &e) {
			continue
		}
		own, a := z.endpointName(s, &e), e.Address.Addr()
		if isNew(target{name: own, port: e.Address.Port()}) {
			r.answer = append(r.answer, srv(name, own, e.Address.Port()))
		}
		if isNew(target{name: own, addr: a}) {
			r.extra = append(r.extra, addresses(own, addressType(a), []netip.Addr{a})...)
		}
	}
}

func hasProtocol(s *netproxy.Service, label string) bool {
	for i := range s.Ports {
		if protocolLabel(&s.Ports[i]) == label {
			return true
		}
	}
	return false
}

func protocolLabel(p *netproxy.Port) string {
	if p.Protocol == netproxy.UDP {
		return "_udp"
	}
	return "_tcp"
}

func srv(name, target string, port uint16) mdns.RR {
	return &mdns.SRV{Hdr: header(name, mdns.TypeSRV), Weight: 100, Port: port, Target: target}
}
