package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

var errNoUpstream = errors.New("no upstream resolver answered")

// forwarder asks the upstreams and remembers what they said.
type forwarder struct {
	upstreams []netip.AddrPort
	slots     chan struct{} // one a question under way

	mu    sync.Mutex
	cache map[question]remembered // guarded by mu
}

type question struct {
	name   string
	kind   uint16
	secure bool // DNSSEC records wanted
}

type remembered struct {
	msg   *mdns.Msg
	at    time.Time
	until time.Time
}

func newForwarder(upstreams []netip.AddrPort) *forwarder {
	return &forwarder{upstreams: upstreams, slots: make(chan struct{}, upstreamsMax), cache: map[question]remembered{}}
}

// ask returns an answer that the caller may change.
func (f *forwarder) ask(ctx context.Context, q question) (*mdns.Msg, error) {
	if m := f.recall(q, time.Now()); m != nil {
		return m, nil
	}
	if len(f.upstreams) == 0 {
		return nil, errNoUpstream
	}
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	default:
		return nil, fmt.Errorf("%d questions are under way already: %w", upstreamsMax, errNoUpstream)
	}
	ctx, cancel := context.WithTimeout(ctx, upstreamPatience)
	defer cancel()
	var failed *mdns.Msg
	for _, up := range f.upstreams {
		m, err := exchange(ctx, q, up.String())
		if err != nil {
			continue
		}
		if m.Rcode == mdns.RcodeSuccess || m.Rcode == mdns.RcodeNameError {
			f.remember(q, m, time.Now())
			return m.Copy(), nil
		}
		failed = m
	}
	if failed != nil {
		return failed, nil
	}
	return nil, errNoUpstream
}

// exchange asks one upstream, by TCP if the answer does not fit a datagram.
func exchange(ctx context.Context, q question, addr string) (*mdns.Msg, error) {
	m := new(mdns.Msg)
	m.SetQuestion(q.name, q.kind)
	m.SetEdns0(udpSizeMax, q.secure)
	client := mdns.Client{Net: "udp", Timeout: upstreamTimeout, UDPSize: udpSizeMax}
	r, _, err := client.ExchangeContext(ctx, m, addr)
	if err != nil || r.Truncated {
		client.Net = "tcp"
		if t, _, tcpErr := client.ExchangeContext(ctx, m, addr); tcpErr == nil {
			r, err = t, nil
		}
	}
	return r, err
}

func (f *forwarder) remember(q question, m *mdns.Msg, now time.Time) {
	ttl := lifetime(m)
	if ttl <= 0 || m.Truncated {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.cache) >= cacheEntries {
		f.makeRoom(now)
	}
	f.cache[q] = remembered{m, now, now.Add(ttl)}
}

// makeRoom forgets the expired, or one other if there is none. It is called with mu held.
func (f *forwarder) makeRoom(now time.Time) {
	for k, r := range f.cache {
		if r.until.Before(now) {
			delete(f.cache, k)
		}
	}
	for k := range f.cache {
		if len(f.cache) < cacheEntries {
			return
		}
		delete(f.cache, k)
	}
}

// recall returns a copy of what is remembered, grown older.
func (f *forwarder) recall(q question, now time.Time) *mdns.Msg {
	f.mu.Lock()
	r, ok := f.cache[q]
	f.mu.Unlock()
	if !ok || !now.Before(r.until) {
		return nil
	}
	m := r.msg.Copy()
	age := uint32(now.Sub(r.at) / time.Second)
	for _, section := range [][]mdns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != mdns.TypeOPT {
				h.Ttl -= min(h.Ttl, age)
			}
		}
	}
	return m
}

// lifetime is how long an answer may be kept: its shortest record, and if it says that there is nothing, what its SOA
// allows.
func lifetime(m *mdns.Msg) time.Duration {
	if len(m.Answer) == 0 {
		for _, rr := range m.Ns {
			if soa, ok := rr.(*mdns.SOA); ok {
				return min(cacheNegativeMax, time.Duration(min(soa.Minttl, soa.Hdr.Ttl))*time.Second)
			}
		}
		return 0
	}
	ttl := cacheTTLMax
	for _, rr := range m.Answer {
		ttl = min(ttl, time.Duration(rr.Header().Ttl)*time.Second)
	}
	return ttl
}

// ReadUpstreams returns the resolvers that a file like /etc/resolv.conf names.
func ReadUpstreams(path string) ([]netip.AddrPort, error) {
	c, err := mdns.ClientConfigFromFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the node's resolvers: %w", err)
	}
	var out []netip.AddrPort
	for _, s := range c.Servers {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, netip.AddrPortFrom(a, 53))
		}
	}
	return out, nil
}
