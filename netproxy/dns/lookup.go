package dns

import (
	"context"
	"net/netip"
	"strings"

	mdns "github.com/miekg/dns"
)

// asker gets the answer to a question from elsewhere. The caller may change it.
type asker func(question) (*mdns.Msg, error)

// asking waits for upstreams.
func (s *Server) asking(ctx context.Context) asker {
	return func(q question) (*mdns.Msg, error) { return s.forward.ask(ctx, q) }
}

// lookup is one question's way to its answer.
type lookup struct {
	server    *Server
	zone      *zone
	ask       asker
	namespace string // of the pod that asks; empty if it is none whose search list is known
}

// respond makes the answer to any message. A lasting answer is the same for every client until there is another table.
func (s *Server) respond(z *zone, r *mdns.Msg, client netip.Addr, ask asker) (m *mdns.Msg, lasting bool) {
	if code := refusal(r); code != mdns.RcodeSuccess {
		return new(mdns.Msg).SetRcode(r, code), false
	}
	q := r.Question[0]
	opt := r.IsEdns0()
	l := &lookup{server: s, zone: z, ask: ask, namespace: s.namespaceOf(z, client)}
	m, lasting = l.resolve(strings.ToLower(q.Name), q.Qtype, opt != nil && opt.Do())
	m.Id, m.Response, m.Opcode = r.Id, true, mdns.OpcodeQuery
	m.RecursionDesired, m.RecursionAvailable, m.CheckingDisabled = r.RecursionDesired, true, r.CheckingDisabled
	m.Question = r.Question
	restoreCase(m.Answer, strings.ToLower(q.Name), q.Name)
	return m, lasting
}

// refusal is the code for messages that are not answered, RcodeSuccess for the others.
func refusal(r *mdns.Msg) int {
	if r.Opcode != mdns.OpcodeQuery {
		return mdns.RcodeNotImplemented
	}
	if len(r.Question) != 1 {
		return mdns.RcodeFormatError
	}
	if opt := r.IsEdns0(); opt != nil && opt.Version() != 0 {
		return mdns.RcodeBadVers
	}
	if q := r.Question[0]; q.Qclass != mdns.ClassINET || q.Qtype == mdns.TypeAXFR || q.Qtype == mdns.TypeIXFR {
		return mdns.RcodeRefused
	}
	return mdns.RcodeSuccess
}

func (s *Server) namespaceOf(z *zone, client netip.Addr) string {
	if namespace, ok := (*s.clients.Load())[client]; ok {
		return namespace
	}
	return z.pods[client]
}

// restoreCase gives the records of the name asked for the spelling of the question, which clients may check.
func restoreCase(records []mdns.RR, lower, asked string) {
	for _, rr := range records {
		if h := rr.Header(); lower != asked && h.Name == lower {
			h.Name = asked
		}
	}
}

func (l *lookup) resolve(name string, kind uint16, secure bool) (m *mdns.Msg, lasting bool) {
	if l.zone.owns(name) {
		r := l.zone.answer(name, kind)
		mayBeSearched := !r.found && l.zone.searched(name, kind)
		if mayBeSearched {
			if m := l.search(name, kind); m != nil {
				return m, false
			}
		}
		return l.local(name, kind, r), !mayBeSearched && !r.shuffled && r.alias == ""
	}
	if r := l.zone.pointer(name, kind); r.found {
		return l.local(name, kind, r), true
	}
	if kind == mdns.TypeANY {
		return &mdns.Msg{Answer: []mdns.RR{minimal(name)}}, true
	}
	m, err := l.ask(question{name, kind, secure})
	if err != nil {
		l.server.log.Debug("a name did not resolve", "name", name, "error", err)
		return &mdns.Msg{MsgHdr: mdns.MsgHdr{Rcode: mdns.RcodeServerFailure}}, false
	}
	return m, false
}

// minimal is the answer to who asks for everything, which is what forgers do to make large answers (RFC 8482).
func minimal(name string) mdns.RR {
	return &mdns.HINFO{Hdr: header(name, mdns.TypeHINFO), Cpu: "RFC8482"}
}

// local makes an answer of what the zone knows. An external name is followed, so that a stub resolver gets addresses.
func (l *lookup) local(name string, kind uint16, r reply) *mdns.Msg {
	m := &mdns.Msg{MsgHdr: mdns.MsgHdr{Authoritative: true}, Answer: r.answer, Extra: r.extra}
	switch {
	case !r.found:
		m.Rcode = mdns.RcodeNameError
	case kind == mdns.TypeANY:
		m.Answer, m.Extra = []mdns.RR{minimal(name)}, nil
	case r.alias != "" && kind != mdns.TypeCNAME:
		m.Answer = append(m.Answer, l.follow(strings.ToLower(r.alias), kind)...)
	}
	if len(m.Answer) == 0 {
		m.Ns = []mdns.RR{l.zone.soa()}
	}
	return m
}

// follow resolves the target of an external name. One that points into the cluster again is followed no further.
func (l *lookup) follow(target string, kind uint16) []mdns.RR {
	if l.zone.owns(target) {
		return l.zone.answer(target, kind).answer
	}
	m, err := l.ask(question{name: target, kind: kind})
	if err != nil {
		return nil
	}
	return m.Answer
}
