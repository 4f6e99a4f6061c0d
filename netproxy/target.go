package netproxy

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// backend is one endpoint of one port. It outlives the tables that name it, so that its count of
// connections does too.
type backend struct {
	addr   netip.AddrPort
	sa     sockaddr
	near   bool         // on this machine
	active atomic.Int64 // connections and sessions, dials included
	avoid  atomic.Int64 // loop clock until which it is passed over
	gone   atomic.Bool  // takes no new traffic in any scope

	connections, failures atomic.Uint64           // dials that succeeded, and sessions; dials that failed
	bytesIn, bytesOut     atomic.Uint64           // from clients, and to them, as far as they are settled
	dials                 atomic.Pointer[latency] // nil until one succeeds
}

func (b *backend) healthy(now int64) bool { return b.avoid.Load() <= now }

// endpointSet is what one port relays to: a list a scope. It never changes once published.
type endpointSet struct {
	by       [scopes][]*backend
	affinity time.Duration
	header   bool           // of the PROXY protocol
	keep     [scopes]bool   // endpoints see the client's address
	guarded  []netip.Addr   // addresses that serve only the clients of
	ranges   []netip.Prefix // these, if there are any
}

// allows says whether a client may use an address of the port.
func (s *endpointSet) allows(at, client netip.Addr) bool {
	if len(s.ranges) == 0 || !slices.Contains(s.guarded, at) {
		return true
	}
	return slices.ContainsFunc(s.ranges, func(p netip.Prefix) bool { return p.Contains(client) })
}

// target is one service port with its endpoints and counters. Loops read it, Swap writes it.
type target struct {
	name  TargetName
	gate  *gate
	set   atomic.Pointer[endpointSet]
	stats []counters // one a loop, so that no cache line is shared

	mu     sync.Mutex
	sticky map[netip.Addr]sticky // guarded by mu; nil without affinity
}

// sticky is the endpoint that a client address keeps until a time of the loops' clock.
type sticky struct {
	to    *backend
	until int64
}

func newTarget(name TargetName, loops int, g *gate) *target {
	t := &target{name: name, gate: g, stats: make([]counters, loops)}
	t.set.Store(&endpointSet{})
	return t
}

// update publishes the endpoints of a new table and reports whether one of the old was lost.
func (t *target) update(s *Service, p *Port, node string) (lost bool) {
	old := t.set.Load()
	next := &endpointSet{affinity: s.AffinityTimeout, header: s.ProxyHeader, keep: [scopes]bool{s.KeepInternal, s.KeepExternal, s.KeepInternal, s.KeepExternal}, guarded: s.BalancerIPs, ranges: s.SourceRanges}
	known, kept := roster{}, roster{}
	for _, list := range old.lists() {
		known.add(list)
	}
	for sc := range scopes {
		if sc.from() == external && s.InternalLocal == s.ExternalLocal {
			next.by[sc] = next.by[sc-external]
			continue
		}
		next.by[sc] = keep(&kept, &known, eligible(s, p, node, sc), node)
		kept.add(next.by[sc])
	}
	t.set.Store(next)
	for _, list := range old.lists() {
		for _, b := range list {
			if kept.find(b.addr) == nil {
				b.gone.Store(true)
				lost = true
			}
		}
	}
	return lost
}

// lists of a set, without those that are the same as another.
func (s *endpointSet) lists() [][]*backend {
	switch {
	case !same(s.by[internal], s.by[external]) || !same(s.by[internal6], s.by[external6]):
		return s.by[:]
	case len(s.by[internal6]) == 0:
		return s.by[:1]
	}
	return [][]*backend{s.by[internal], s.by[internal6]}
}

func same(a, b []*backend) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

// keep returns the backends of endpoints: the ones made for the other scope, the last table's, or new ones.
func keep(kept, known *roster, list []Endpoint, node string) []*backend {
	out := make([]*backend, 0, len(list))
	for i := range list {
		a := list[i].Address
		b := kept.find(a)
		if b == nil {
			b = known.find(a)
		}
		if b == nil {
			b = &backend{addr: a, sa: newSockaddr(a), near: node != "" && list[i].Node == node}
		}
		out = append(out, b)
	}
	return out
}

// roster finds backends by address: few by looking at them in turn, many by a map. Most ports have few.
type roster struct {
	few  [scopes][]*backend
	size int
	many map[netip.AddrPort]*backend
}

const rosterFew = 16

func (r *roster) add(list []*backend) {
	if r.size += len(list); r.size <= rosterFew {
		for i := range r.few {
			if r.few[i] == nil {
				r.few[i] = list
				return
			}
		}
	}
	if r.many == nil {
		r.many = make(map[netip.AddrPort]*backend, r.size)
	}
	for _, b := range list {
		r.many[b.addr] = b
	}
}

func (r *roster) find(a netip.AddrPort) *backend {
	for _, list := range r.few {
		for _, b := range list {
			if b.addr == a {
				return b
			}
		}
	}
	return r.many[a]
}

// drop marks every endpoint gone; the target's service has left the table.
func (t *target) drop() (lost bool) {
	for _, list := range t.set.Swap(&endpointSet{}).by {
		for _, b := range list {
			b.gone.Store(true)
			lost = true
		}
	}
	return lost
}

// choose returns an endpoint for a client, the same one as before if the service asks for that.
func (t *target) choose(sc scope, client netip.Addr, tried []*backend, now int64) *backend {
	set := t.set.Load()
	if set.affinity == 0 {
		return t.chooseAllowed(set.by[sc], client, tried, now)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.sticky[client].to
	fresh := b != nil && t.sticky[client].until > now && contains(set.by[sc], b) && !contains(tried, b) && t.gate.allows(client, b, t.name.Protocol)
	if !fresh {
		b = t.chooseAllowed(set.by[sc], client, tried, now)
	}
	if b != nil {
		t.remember(client, b, now, now+int64(set.affinity))
	}
	return b
}

// chooseAllowed passes over the endpoints that the client may not be connected to. Mostly the first choice will do, so
// the others are not asked about before.
func (t *target) chooseAllowed(set []*backend, client netip.Addr, tried []*backend, now int64) *backend {
	b := choose(set, tried, now)
	if b == nil || t.gate.allows(client, b, t.name.Protocol) {
		return b
	}
	var allowed []*backend
	for _, b := range set {
		if t.gate.allows(client, b, t.name.Protocol) {
			allowed = append(allowed, b)
		}
	}
	return choose(allowed, tried, now)
}

// gate is the table's Allow, Keeps and Lost; all targets of a proxy share one.
type gate struct {
	lost  atomic.Pointer[[]netip.Prefix]
	allow atomic.Pointer[func(netip.Addr, netip.AddrPort, Protocol) bool]
	keeps atomic.Pointer[func(client, endpoint netip.Addr) bool]
}

func (g *gate) set(t *Table) {
	g.allow.Store(pointer(t.Allow))
	g.keeps.Store(pointer(t.Keeps))
}

// pointer is nil for a function that is.
func pointer[F func(netip.Addr, netip.AddrPort, Protocol) bool | func(client, endpoint netip.Addr) bool](f F) *F {
	if f == nil {
		return nil
	}
	return &f
}

// lose sets the lost addresses and reports whether there are new ones.
func (g *gate) lose(lost []netip.Prefix) (more bool) {
	before := g.lost.Swap(&lost)
	return slices.ContainsFunc(lost, func(p netip.Prefix) bool { return before == nil || !slices.Contains(*before, p) })
}

func (g *gate) isLost(b *backend) bool {
	lost := g.lost.Load()
	return lost != nil && slices.ContainsFunc(*lost, func(p netip.Prefix) bool { return p.Contains(b.addr.Addr().Unmap()) })
}

func (g *gate) allows(client netip.Addr, b *backend, p Protocol) bool {
	allow := g.allow.Load()
	return allow == nil || (*allow)(client, b.addr, p)
}

// remember notes a client's endpoint. It is called with mu held. When the table of clients is full the expired are
// dropped, and one other if none was: a forgotten client is merely balanced anew.
func (t *target) remember(client netip.Addr, b *backend, now, until int64) {
	if t.sticky == nil {
		t.sticky = map[netip.Addr]sticky{}
	}
	if _, known := t.sticky[client]; !known && len(t.sticky) >= affinityMax {
		t.forget(now)
	}
	t.sticky[client] = sticky{to: b, until: until}
}

func (t *target) forget(now int64) {
	for a, s := range t.sticky {
		if s.until <= now {
			delete(t.sticky, a)
		}
	}
	for a := range t.sticky {
		if len(t.sticky) < affinityMax {
			return
		}
		delete(t.sticky, a)
	}
}
