package dns

import (
	"slices"
	"strings"

	mdns "github.com/miekg/dns"
)

// searched tells whether a name may be the first try of a search list: NAME.namespace.svc.domain, where NAME has a dot.
func (z *zone) searched(name string, kind uint16) bool {
	rest, ok := strings.CutSuffix(name, ".svc."+z.domain)
	return ok && strings.Count(rest, ".") >= 2 && (kind == mdns.TypeA || kind == mdns.TypeAAAA)
}

// search walks the rest of a pod's search list for a name that its first suffix did not find: NAME.namespace.svc.domain
// is followed by NAME.svc.domain, NAME.domain, those of the node, and NAME itself. The pod would ask for each in turn; it
// gets the first hit as an alias instead. Only the pod's own namespace is walked, since only then is the first suffix known
// to be from a search list. It returns nil if nothing was found: the client then goes on by itself, as ever.
func (l *lookup) search(name string, kind uint16) *mdns.Msg {
	bare, found := strings.CutSuffix(name, "."+l.namespace+".svc."+l.zone.domain)
	if l.namespace == "" || !found || !strings.Contains(bare, ".") {
		return nil
	}
	for _, suffix := range []string{".svc.", "."} {
		next := bare + suffix + l.zone.domain
		if r := l.zone.answer(next, kind); r.found {
			m := l.local(next, kind, r)
			m.Answer = append([]mdns.RR{alias(name, next)}, m.Answer...)
			return m
		}
	}
	for _, suffix := range slices.Concat(l.server.searches, []string{""}) {
		next := bare + "." + suffix
		if _, ok := mdns.IsDomainName(next); !ok {
			continue
		}
		m, err := l.ask(question{name: next, kind: kind})
		if err != nil {
			return nil
		}
		if m.Rcode != mdns.RcodeSuccess {
			continue
		}
		if len(m.Answer) > 0 {
			m.Answer = append([]mdns.RR{alias(name, next)}, m.Answer...)
		}
		return m
	}
	return nil
}

func alias(from, to string) mdns.RR {
	return &mdns.CNAME{Hdr: header(from, mdns.TypeCNAME), Target: to}
}
