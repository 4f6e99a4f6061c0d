package dns

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	mdns "github.com/miekg/dns"

	"github.com/peapod-sh/peapod/netproxy"
)

// zone is a table made ready for questions. It never changes.
type zone struct {
	domain     string // "cluster.local.", lower case
	serial     uint32
	services   map[string]*netproxy.Service // by "name.namespace"
	namespaces map[string]bool
	pods       map[netip.Addr]string            // the namespace of a pod's address
	reverse    func() map[netip.Addr]([]string) // made when first asked for
}

func newZone(t *netproxy.Table, fallback string) *zone {
	domain := t.ClusterDomain
	if domain == "" {
		domain = fallback
	}
	z := &zone{
		domain: strings.ToLower(mdns.Fqdn(domain)), serial: uint32(t.Generation),
		services:   make(map[string]*netproxy.Service, len(t.Services)),
		namespaces: map[string]bool{},
		pods:       make(map[netip.Addr]string, len(t.Pods)),
	}
	for i := range t.Services {
		s := &t.Services[i]
		z.services[s.Name+"."+s.Namespace] = s
		z.namespaces[s.Namespace] = true
	}
	for _, p := range t.Pods {
		z.pods[p.Address.Unmap()] = p.Namespace
		z.namespaces[p.Namespace] = true
	}
	z.reverse = sync.OnceValue(func() map[netip.Addr][]string { return z.reversed(t.Services) })
	return z
}

// reversed names virtual addresses by their service, and endpoints by their name in it.
func (z *zone) reversed(services []netproxy.Service) map[netip.Addr][]string {
	names := map[netip.Addr][]string{}
	for i := range services {
		s := &services[i]
		for _, vip := range s.VIPs {
			names[vip.Unmap()] = append(names[vip.Unmap()], z.serviceName(s))
		}
		for _, e := range published(s) {
			a := e.Address.Addr().Unmap()
			names[a] = append(names[a], z.endpointName(s, &e))
		}
	}
	return names
}

func (z *zone) serviceName(s *netproxy.Service) string {
	return s.Name + "." + s.Namespace + ".svc." + z.domain
}

func (z *zone) endpointName(s *netproxy.Service, e *netproxy.Endpoint) string {
	return endpointLabel(e) + "." + z.serviceName(s)
}

// endpointLabel is the endpoint's own name in its service: its hostname, or its address with dashes.
func endpointLabel(e *netproxy.Endpoint) string {
	if e.Hostname != "" {
		return strings.ToLower(e.Hostname)
	}
	return dashed(e.Address.Addr())
}

func dashed(a netip.Addr) string {
	return strings.NewReplacer(".", "-", ":", "-").Replace(a.Unmap().String())
}

// undashed reads 10-1-2-3 or fd00--1.
func undashed(label string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ".")); err == nil {
		return a, true
	}
	a, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ":"))
	return a, err == nil
}

// published returns the endpoints that names are given to, each address and hostname once whatever ports it has.
func published(s *netproxy.Service) []netproxy.Endpoint {
	type identity struct {
		addr     netip.Addr
		hostname string
	}
	seen := map[identity]bool{}
	var out []netproxy.Endpoint
	add := func(list []netproxy.Endpoint) {
		for _, e := range list {
			id := identity{e.Address.Addr(), e.Hostname}
			if visible(s, &e) && !seen[id] {
				seen[id] = true
				out = append(out, e)
			}
		}
	}
	add(s.Portless)
	for i := range s.Ports {
		add(s.Ports[i].Endpoints)
	}
	return out
}

// anyPublished tells whether published returns any.
func anyPublished(s *netproxy.Service) bool {
	is := func(e netproxy.Endpoint) bool { return visible(s, &e) }
	return slices.ContainsFunc(s.Portless, is) ||
		slices.ContainsFunc(s.Ports, func(p netproxy.Port) bool { return slices.ContainsFunc(p.Endpoints, is) })
}

func visible(s *netproxy.Service, e *netproxy.Endpoint) bool {
	return e.Address.Addr().IsValid() && (e.Ready || s.PublishNotReady)
}
