package ingress

import (
	"cmp"
	"crypto/tls"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/netproxy"
)

// builder makes a routing of the watched objects and the services' table.
type builder struct {
	objects  *objects
	services map[name]*netproxy.Service
	pool     *pool
	out      *routing
}

func build(o *objects, t *netproxy.Table, pool *pool) *routing {
	b := &builder{objects: o, services: make(map[name]*netproxy.Service, len(t.Services)), pool: pool,
		out: &routing{sites: newSites[*site](), certificates: newSites[[]*tls.Certificate]()}}
	for i := range t.Services {
		s := &t.Services[i]
		b.services[name{s.Namespace, s.Name}] = s
	}
	for _, in := range served(o) {
		b.out.used = true
		b.ingress(in)
	}
	for _, hosts := range []map[string]*site{b.out.sites.exact, b.out.sites.wildcard, {"": &b.out.any}} {
		for _, s := range hosts {
			s.order()
		}
	}
	return b.out
}

// served are the ingresses of the built-in controller's classes, the oldest first: of two that want the same it has it.
func served(o *objects) (out []*networkingv1.Ingress) {
	for _, in := range o.ingresses {
		if o.classes[api.IngressClassOf(in)] {
			out = append(out, in)
		}
	}
	slices.SortFunc(out, func(a, b *networkingv1.Ingress) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return out
}

func (b *builder) ingress(in *networkingv1.Ingress) {
	options, _ := api.ReadIngressOptions(in) // of whose faults the leader tells
	var hosts []string
	for i := range in.Spec.Rules {
		r := &in.Spec.Rules[i]
		hosts = append(hosts, r.Host)
		s := b.site(r.Host)
		if r.HTTP == nil {
			continue
		}
		for j := range r.HTTP.Paths {
			p := &r.HTTP.Paths[j]
			s.routes = append(s.routes, routeOf(p, b.target(in, &p.Backend, options)))
		}
	}
	if d := in.Spec.DefaultBackend; d != nil {
		t := b.target(in, d, options)
		for _, h := range append(hosts, "") {
			if s := b.site(h); s.fallback == nil {
				s.fallback = t
			}
		}
	}
	b.tls(in, hosts)
}

func routeOf(p *networkingv1.HTTPIngressPath, to *target) route {
	if p.PathType != nil && *p.PathType == networkingv1.PathTypeExact {
		return route{path: p.Path, exact: true, to: to}
	}
	trimmed := strings.TrimSuffix(p.Path, "/")
	return route{path: trimmed, slashed: trimmed != p.Path && trimmed != "", to: to}
}

func (b *builder) site(host string) *site {
	if host == "" {
		return &b.out.any
	}
	m, k := b.out.sites.at(host)
	if m[k] == nil {
		m[k] = &site{}
	}
	return m[k]
}

// tls files the certificates of an ingress under the hosts that they are for, which are those of its rules if it names none. If neither names
// any, they are for every host that has none of its own.
func (b *builder) tls(in *networkingv1.Ingress, ruled []string) {
	for _, t := range in.Spec.TLS {
		c := b.objects.certificates[name{in.Namespace, t.SecretName}]
		if c == nil {
			continue
		}
		hosts := t.Hosts
		if len(hosts) == 0 {
			hosts = ruled
		}
		if len(hosts) == 0 {
			hosts = []string{""}
		}
		for _, h := range hosts {
			m, k := b.out.certificates.at(h)
			m[k] = append(m[k], c)
		}
	}
}

func (b *builder) target(in *networkingv1.Ingress, backend *networkingv1.IngressBackend, o api.IngressOptions) *target {
	t := &target{ingress: in.Namespace + "/" + in.Name, options: o}
	if backend.Service == nil {
		return t
	}
	s := b.services[name{in.Namespace, backend.Service.Name}]
	if s == nil {
		return t
	}
	for i := range s.Ports {
		if p := &s.Ports[i]; p.Protocol == netproxy.TCP && isPort(p, &backend.Service.Port) {
			t.endpoints = b.pool.endpoints(s, p, speechOf(o, p.App))
			return t
		}
	}
	return t
}

func isPort(p *netproxy.Port, want *networkingv1.ServiceBackendPort) bool {
	if want.Name != "" {
		return p.Name == want.Name
	}
	return int32(p.Port) == want.Number
}
