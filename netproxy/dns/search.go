package dns

import (
	"context"
	"net/netip"
	"strings"

	mdns "github.com/miekg/dns"
)

// search walks the rest of a pod's search list for a name that its first suffix did not find: NAME.namespace.svc.domain
// is followed by NAME.svc.domain, NAME.domain and NAME itself. The pod would ask for each in turn; it gets the first hit
// as an alias instead. Only the pod's own namespace is walked, since only then is the first suffix known to be from
// a search list. It returns nil if nothing was found: the client then goes on by itself, as ever.
func (s *Server) search(ctx context.Context, z *zone, name string, kind uint16, client netip.Addr) *mdns.Msg {
	namespace, pod := z.pods[client.Unmap()]
	bare, found := strings.CutSuffix(name, "."+namespace+".svc."+z.domain)
	if !pod || !found || !strings.Contains(bare, ".") || kind != mdns.TypeA && kind != mdns.TypeAAAA {
		return nil
	}
	for _, suffix := range []string{".svc.", "."} {
		next := bare + suffix + z.domain
		if r := z.answer(next, kind); r.found {
			m := s.local(ctx, z, next, kind, r)
			m.Answer = append([]mdns.RR{alias(name, next)}, m.Answer...)
			return m
		}
	}
	m, err := s.forward.ask(ctx, question{name: bare + ".", kind: kind})
	if err != nil || m.Rcode != mdns.RcodeSuccess {
		return nil
	}
	if len(m.Answer) > 0 {
		m.Answer = append([]mdns.RR{alias(name, bare+".")}, m.Answer...)
	}
	return m
}

func alias(from, to string) mdns.RR {
	return &mdns.CNAME{Hdr: header(from, mdns.TypeCNAME), Target: to}
}
