package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	mdns "github.com/miekg/dns"
)

// Stubs are the resolvers of domains that the usual upstreams do not know. Domains are lower case and end in a dot.
type Stubs map[string][]netip.AddrPort

// ParseStubs reads DOMAIN=ADDRESS[:PORT] texts. A domain that comes again gets one more resolver.
func ParseStubs(texts []string) (Stubs, error) {
	out := Stubs{}
	for _, text := range texts {
		domain, server, ok := strings.Cut(text, "=")
		if _, valid := mdns.IsDomainName(domain); !ok || !valid || domain == "" {
			return nil, fmt.Errorf("%q is not DOMAIN=ADDRESS[:PORT]", text)
		}
		at, err := parseResolver(server)
		if err != nil {
			return nil, fmt.Errorf("%q is not DOMAIN=ADDRESS[:PORT]: %w", text, err)
		}
		domain = strings.ToLower(mdns.Fqdn(domain))
		out[domain] = append(out[domain], at)
	}
	return out, nil
}

// ParseResolvers reads ADDRESS[:PORT] texts.
func ParseResolvers(texts []string) ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for _, text := range texts {
		at, err := parseResolver(text)
		if err != nil {
			return nil, err
		}
		out = append(out, at)
	}
	return out, nil
}

func parseResolver(text string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(a, 53), nil
	}
	return netip.ParseAddrPort(text)
}

// readResolv returns the resolvers that a file like /etc/resolv.conf names, and its search list, in lower case and with
// dots at the end.
func readResolv(path string) (servers []netip.AddrPort, searches []string, err error) {
	c, err := mdns.ClientConfigFromFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the node's resolvers: %w", err)
	}
	for _, s := range c.Servers {
		if a, err := netip.ParseAddr(s); err == nil {
			servers = append(servers, netip.AddrPortFrom(a, 53))
		}
	}
	for _, s := range c.Search {
		if _, ok := mdns.IsDomainName(s); ok && strings.Trim(s, ".") != "" {
			searches = append(searches, strings.ToLower(mdns.Fqdn(s)))
		}
	}
	return servers, searches, nil
}

// upstream is one resolver. One that lately did not answer is asked after the others, so that it holds up few questions.
type upstream struct {
	addr   string
	failed atomic.Int64 // when, in nanoseconds since 1970
}

// newUpstreams leaves out the server itself: a node whose resolver is the cluster's would ask for ever.
func newUpstreams(addrs []netip.AddrPort, self ...netip.AddrPort) (out []*upstream) {
	for _, a := range addrs {
		if !slices.Contains(self, a) {
			out = append(out, &upstream{addr: a.String()})
		}
	}
	return out
}

func inOrder(list []*upstream, now time.Time) []*upstream {
	lately := func(u *upstream) int {
		if now.UnixNano()-u.failed.Load() < int64(failedFor) {
			return 1
		}
		return 0
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b *upstream) int { return lately(a) - lately(b) })
	return list
}

// exchange asks, by TCP if the answer does not fit a datagram.
func (u *upstream) exchange(ctx context.Context, q question) (*mdns.Msg, error) {
	m := new(mdns.Msg)
	m.SetQuestion(q.name, q.kind)
	m.SetEdns0(udpSizeMax, q.secure)
	client := mdns.Client{Net: "udp", Timeout: upstreamTimeout, UDPSize: udpSizeMax}
	r, _, err := client.ExchangeContext(ctx, m, u.addr)
	if err == nil && r.Truncated {
		client.Net = "tcp"
		if whole, _, err := client.ExchangeContext(ctx, m, u.addr); err == nil {
			r = whole
		}
	}
	if err == nil && !answers(r, q) {
		err = errOther
	}
	if err != nil && ctx.Err() == nil {
		u.failed.Store(time.Now().UnixNano())
	}
	return r, err
}

var errOther = errors.New("the answer is to another question")

func answers(r *mdns.Msg, q question) bool {
	return r.Response && len(r.Question) == 1 && strings.EqualFold(r.Question[0].Name, q.name) && r.Question[0].Qtype == q.kind
}
