package netproxy

import (
	"cmp"
	"net/netip"
	"slices"
)

// PortTrace is what the proxy does with one port of a service, as it is in force.
type PortTrace struct {
	Name      TargetName
	Counters  Counters
	Latency   Latency
	Listening []netip.AddrPort // virtual addresses and node ports that are open
	Backends  []BackendTrace   // that take new connections from somewhere, by address
}

// BackendTrace is one endpoint of a port.
type BackendTrace struct {
	Address            netip.AddrPort
	Internal, External bool   // takes new connections to virtual addresses; to node ports
	Active             int64  // connections and sessions now, dials included
	Connections        uint64 // dials that succeeded, and sessions
	Failures           uint64 // dials that failed
	BytesIn, BytesOut  uint64 // from clients and to them; of what is open, all but less than a megabyte each
	Latency            Latency
	Avoided            bool // it failed a dial lately, and others are taken while there are any
}

// Ports tells what is in force of all services, by namespace, name and port.
func (p *Proxy) Ports() []PortTrace {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []PortTrace
	for name := range p.state.services {
		out = append(out, p.tracePorts(name)...)
	}
	slices.SortFunc(out, func(a, b PortTrace) int {
		x, y := a.Name, b.Name
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name), cmp.Compare(x.Port, y.Port), cmp.Compare(x.Protocol, y.Protocol))
	})
	return out
}

// Trace tells what is in force of one service, by port; nil if the proxy does not know it.
func (p *Proxy) Trace(namespace, name string) []PortTrace {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tracePorts(serviceName{namespace, name})
}

// tracePorts is called with mu held.
func (p *Proxy) tracePorts(name serviceName) []PortTrace {
	st := p.state.services[name]
	if st == nil {
		return nil
	}
	var now int64
	if len(p.loops) > 0 {
		now = p.loops[0].now()
	}
	out := make([]PortTrace, 0, len(st.ports))
	for n, port := range st.ports {
		t := PortTrace{Name: n, Counters: port.target.counters(), Latency: port.target.latency(), Backends: port.target.trace(now)}
		for _, k := range port.keys {
			t.Listening = append(t.Listening, k.addr)
		}
		slices.SortFunc(t.Listening, netip.AddrPort.Compare)
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b PortTrace) int {
		return cmp.Or(cmp.Compare(a.Name.Port, b.Name.Port), cmp.Compare(a.Name.Protocol, b.Name.Protocol))
	})
	return out
}

func (t *target) trace(now int64) []BackendTrace {
	set := t.set.Load()
	var out []BackendTrace
	for sc, list := range set.by {
		for _, b := range list {
			i := slices.IndexFunc(out, func(x BackendTrace) bool { return x.Address == b.addr })
			if i < 0 {
				i = len(out)
				out = append(out, BackendTrace{Address: b.addr, Active: b.active.Load(), Connections: b.connections.Load(),
					Failures: b.failures.Load(), Avoided: !b.healthy(now), BytesIn: b.bytesIn.Load(), BytesOut: b.bytesOut.Load(),
					Latency: b.latency()})
			}
			out[i].Internal = out[i].Internal || scope(sc).from() == internal
			out[i].External = out[i].External || scope(sc).from() == external
		}
	}
	slices.SortFunc(out, func(a, b BackendTrace) int { return a.Address.Compare(b.Address) })
	return out
}
