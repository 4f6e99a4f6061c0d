package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	mdns "github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
)

var errNoUpstream = errors.New("no upstream resolver answered")

// forwarder asks the upstreams and remembers what they said.
type forwarder struct {
	upstreams     []*upstream
	stubs         map[string][]*upstream // by domain
	flights       singleflight.Group     // equal questions are asked once
	asked, failed atomic.Uint64          // questions, since the counters were last read

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

func newForwarder(upstreams []netip.AddrPort, stubs Stubs, self ...netip.AddrPort) *forwarder {
	f := &forwarder{upstreams: newUpstreams(upstreams, self...), stubs: map[string][]*upstream{}, cache: map[question]remembered{}}
	for domain, addrs := range stubs {
		f.stubs[domain] = newUpstreams(addrs, self...)
	}
	return f
}

// ask returns an answer that the caller may change.
func (f *forwarder) ask(ctx context.Context, q question) (*mdns.Msg, error) {
	if m := f.recall(q, time.Now()); m != nil {
		return m, nil
	}
	m, err, _ := f.flights.Do(fmt.Sprint(q.kind, q.secure, q.name), func() (any, error) {
		if m := f.recall(q, time.Now()); m != nil { // of a flight that has ended in between
			return m, nil
		}
		return f.askAll(ctx, q)
	})
	if err != nil {
		return nil, err
	}
	return m.(*mdns.Msg).Copy(), nil
}

// askAll asks one upstream after the other until one knows.
func (f *forwarder) askAll(ctx context.Context, q question) (*mdns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, upstreamPatience)
	defer cancel()
	f.asked.Add(1)
	var last *mdns.Msg
	for _, up := range inOrder(f.responsible(q.name), time.Now()) {
		m, err := up.exchange(ctx, q)
		if err != nil || m.Rcode > 0xf { // a larger one has no place in an answer without EDNS
			continue
		}
		m.Authoritative = false
		if m.Rcode == mdns.RcodeSuccess || m.Rcode == mdns.RcodeNameError {
			f.remember(q, m, time.Now())
			return m, nil
		}
		last = m
	}
	f.failed.Add(1)
	if last != nil {
		return last, nil
	}
	return nil, errNoUpstream
}

// responsible are the resolvers of the longest domain that the name is in.
func (f *forwarder) responsible(name string) []*upstream {
	if len(f.stubs) > 0 {
		for i, end := 0, false; !end; i, end = mdns.NextLabel(name, i) {
			if list, ok := f.stubs[name[i:]]; ok {
				return list
			}
		}
	}
	return f.upstreams
}

func (f *forwarder) remember(q question, m *mdns.Msg, now time.Time) {
	ttl := lifetime(m)
	if ttl <= 0 || m.Truncated || m.Len() > cacheBytes {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.cache) >= cacheEntries {
		f.makeRoom(now)
	}
	f.cache[q] = remembered{m, now, now.Add(ttl)}
}

// makeRoom forgets the expired, and others if there are few: an eighth at once, so that not every question has to search for
// some. It is called with mu held.
func (f *forwarder) makeRoom(now time.Time) {
	for k, r := range f.cache {
		if r.until.Before(now) {
			delete(f.cache, k)
		}
	}
	for k := range f.cache {
		if len(f.cache) <= cacheEntries*7/8 {
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
