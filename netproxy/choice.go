package netproxy

import (
	"math/rand/v2"
	"net/netip"
)

// scope says from where traffic comes: to a virtual address (internal) or to a node port (external), and of which family that address is:
// endpoints are of the same one.
type scope uint8

const (
	internal scope = iota
	external
	internal6
	external6
	scopes
)

// at is the scope of traffic to an address.
func (s scope) at(a netip.Addr) scope {
	if a.Unmap().Is6() {
		return s + internal6
	}
	return s
}

// from is internal or external, whatever the family.
func (s scope) from() scope { return s % internal6 }

func (s scope) has(a netip.Addr) bool { return a.Unmap().Is6() == (s >= internal6) }

// eligible returns the endpoints that take new traffic of a scope on a node, in the table's order.
// Ready ones do; when there is none, those that still serve while they terminate. A local policy narrows
// the endpoints to the node's own first, so that it never falls back to another node; without one the near are preferred.
func eligible(s *Service, p *Port, node string, sc scope) []Endpoint {
	local := sc.from() == internal && s.InternalLocal || sc.from() == external && s.ExternalLocal
	if !local && allPlain(p.Endpoints, sc) {
		return p.Endpoints // of most ports, and nobody changes it
	}
	var ready, serving []Endpoint
	for _, e := range p.Endpoints {
		if local && e.Node != node || !e.Address.IsValid() || !sc.has(e.Address.Addr()) {
			continue
		}
		switch {
		case e.Ready || s.PublishNotReady:
			ready = append(ready, e)
		case e.Serving && e.Terminating:
			serving = append(serving, e)
		}
	}
	switch {
	case len(ready) == 0:
		return serving
	case local:
		return ready
	}
	return nearest(ready)
}

// allPlain says whether every endpoint is ready, of the scope's family, and none nearer than the others.
func allPlain(list []Endpoint, sc scope) bool {
	for i := range list {
		if e := &list[i]; !e.Ready || e.Near || !e.Address.IsValid() || !sc.has(e.Address.Addr()) {
			return false
		}
	}
	return true
}

// nearest narrows a list to the endpoints that are near, if there are any.
func nearest(list []Endpoint) []Endpoint {
	var out []Endpoint
	for _, e := range list {
		if e.Near {
			out = append(out, e)
		}
	}
	if len(out) == 0 {
		return list
	}
	return out
}

// choose takes two endpoints at random and returns the one with fewer connections, which keeps the load
// even at the price of two look-ups. Endpoints already tried are never returned; those that failed a dial lately only
// if nothing else is left. It returns nil if every endpoint was tried.
func choose(set, tried []*backend, now int64) *backend {
	if len(set) == 0 {
		return nil
	}
	a, b := pick(set), pick(set)
	if len(tried) == 0 && a.healthy(now) && b.healthy(now) {
		return lesser(a, b)
	}
	return chooseCarefully(set, tried, now)
}

// chooseCarefully looks at every endpoint; it is the path taken after a failure.
func chooseCarefully(set, tried []*backend, now int64) *backend {
	good := make([]*backend, 0, len(set))
	poor := make([]*backend, 0, len(set))
	for _, b := range set {
		switch {
		case contains(tried, b):
		case b.healthy(now):
			good = append(good, b)
		default:
			poor = append(poor, b)
		}
	}
	if len(good) == 0 {
		good = poor
	}
	if len(good) == 0 {
		return nil
	}
	return lesser(pick(good), pick(good))
}

func pick(set []*backend) *backend { return set[rand.IntN(len(set))] }

func lesser(a, b *backend) *backend {
	if b.active.Load() < a.active.Load() {
		return b
	}
	return a
}

func contains(set []*backend, b *backend) bool {
	for _, x := range set {
		if x == b {
			return true
		}
	}
	return false
}
