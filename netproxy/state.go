package netproxy

import (
	"net/netip"
	"slices"
	"sync"
)

type serviceName struct{ namespace, name string }

// serviceState is a service as it is in force.
type serviceState struct {
	spec    Service
	ports   map[TargetName]*portState
	round   uint64 // the Swap that saw it last
	partial bool   // a listener could not be opened: the next Swap tries again
}

type portState struct {
	target *target
	keys   []listenKey // those that are open
	round  uint64      // the Swap that saw it last
}

// state is the table in force with its sockets. It belongs to Swap.
type state struct {
	gate      gate
	node      string
	reserved  []netip.AddrPort // where nothing listens
	addresses []netip.Addr     // of node ports
	services  map[serviceName]*serviceState
	groups    map[listenKey][]*listener // an entry a loop; nil where it has none
	round     uint64
	sockets   int // listeners open
	ample     int // listeners up to which each loop gets its own for every key
}

// wanted is a listener to open once all that are to be closed are known.
type wanted struct {
	key     listenKey
	service *serviceState
	port    *portState
}

// update is the difference that one Swap makes.
type update struct {
	remove  [][]*listener
	want    []wanted
	lost    bool
	dropped []*target
}

// diff brings the bookkeeping to a new table and returns what the loops have to do. It costs little for services that
// did not change, above all if the new table shares its slices with the old one.
func (s *state) diff(t *Table, loops int) *update {
	u := &update{}
	s.round++
	addresses := nodePortAddresses(t.NodeAddresses)
	moved := t.NodeName != s.node || !slices.Equal(addresses, s.addresses)
	s.node, s.addresses = t.NodeName, addresses
	for i := range t.Services {
		svc := &t.Services[i]
		name := serviceName{svc.Namespace, svc.Name}
		st := s.services[name]
		if st == nil {
			st = &serviceState{ports: map[TargetName]*portState{}}
			s.services[name] = st
		} else if !moved && !st.partial && sameService(&st.spec, svc) {
			st.spec, st.round = *svc, s.round
			continue
		}
		st.spec, st.round, st.partial = *svc, s.round, false
		s.diffService(u, st, loops)
	}
	s.dropUnseen(u)
	return u
}

func (s *state) dropUnseen(u *update) {
	for name, st := range s.services {
		if st.round == s.round {
			continue
		}
		for _, p := range st.ports {
			s.dropPort(u, p)
		}
		delete(s.services, name)
	}
}

func (s *state) dropPort(u *update, p *portState) {
	u.lost = p.target.drop() || u.lost
	u.dropped = append(u.dropped, p.target)
	for _, k := range p.keys {
		s.unlisten(u, k)
	}
	p.keys = nil
}

func (s *state) unlisten(u *update, k listenKey) {
	u.remove = append(u.remove, s.groups[k])
	s.sockets -= count(s.groups[k])
	delete(s.groups, k)
}

func (s *state) diffService(u *update, st *serviceState, loops int) {
	for i := range st.spec.Ports {
		port := &st.spec.Ports[i]
		name := TargetName{st.spec.Namespace, st.spec.Name, port.Port, port.Protocol}
		p := st.ports[name]
		if p == nil {
			p = &portState{target: newTarget(name, loops, &s.gate)}
			st.ports[name] = p
		}
		if p.round == s.round {
			continue // the service names it twice
		}
		p.round = s.round
		u.lost = p.target.update(&st.spec, port, s.node) || u.lost
		s.diffKeys(u, st, p, port)
	}
	for name, p := range st.ports {
		if p.round != s.round {
			s.dropPort(u, p)
			delete(st.ports, name)
		}
	}
}

func (s *state) diffKeys(u *update, st *serviceState, p *portState, port *Port) {
	keys := s.keys(&st.spec, port, p.target.set.Load())
	for _, k := range keys {
		if !slices.Contains(p.keys, k) {
			u.want = append(u.want, wanted{k, st, p})
		}
	}
	p.keys = slices.DeleteFunc(p.keys, func(k listenKey) bool {
		if slices.Contains(keys, k) {
			return false
		}
		s.unlisten(u, k)
		return true
	})
}

// keys are the addresses that a port should listen on: none in a scope without endpoints, so that the kernel refuses.
func (s *state) keys(svc *Service, port *Port, set *endpointSet) (keys []listenKey) {
	add := func(from scope, a netip.Addr, number uint16) {
		sc := from.at(a)
		if len(set.by[sc]) == 0 {
			return
		}
		k := listenKey{netip.AddrPortFrom(a.Unmap(), number), port.Protocol, sc}
		if !slices.Contains(keys, k) && !slices.Contains(s.reserved, k.addr) {
			keys = append(keys, k)
		}
	}
	if port.NodePort != 0 {
		for _, a := range s.addresses {
			if !port.NodeIP.IsValid() || port.NodeIP == a {
				add(external, a, port.NodePort)
			}
		}
	}
	if svc.Headless || port.Port == 0 {
		return keys
	}
	for _, vip := range svc.VIPs {
		add(internal, vip, port.Port)
	}
	for _, list := range [][]netip.Addr{svc.ExternalIPs, svc.BalancerIPs} {
		for _, a := range list {
			add(external, a, port.Port)
		}
	}
	return keys
}

// open opens the wanted listeners. It returns those to add and an error for each that could not be opened.
func (s *state) open(want []wanted, loops int) (add [][]*listener, failed []error) {
	for _, w := range want {
		group, err := s.openOne(w, loops)
		if err != nil {
			w.service.partial = true
			failed = append(failed, err)
			continue
		}
		s.groups[w.key] = group
		s.sockets += count(group)
		w.port.keys = append(w.port.keys, w.key)
		add = append(add, group)
	}
	return add, failed
}

// openOne gives each loop a socket for the key; once listeners use up the descriptors set apart for that, only one loop
// gets one, each in its turn.
func (s *state) openOne(w wanted, loops int) ([]*listener, error) {
	if group := s.groups[w.key]; group != nil {
		return nil, &takenError{w.key, w.port.target.name, owner(group)}
	}
	scarce := s.sockets+loops > s.ample
	return listen(w.key, w.port.target, loops, func(i int) bool { return !scarce || i == s.sockets%loops })
}

func count(group []*listener) (n int) {
	for _, ln := range group {
		if ln != nil {
			n++
		}
	}
	return n
}

func owner(group []*listener) TargetName {
	for _, ln := range group {
		if ln != nil {
			return ln.target.name
		}
	}
	return TargetName{}
}

// takenError says that two services of a table ask for one address.
type takenError struct {
	key       listenKey
	for_, has TargetName
}

func (e *takenError) Error() string {
	return "listening on " + e.key.String() + " for " + e.for_.Namespace + "/" + e.for_.Name +
		": already held by service " + e.has.Namespace + "/" + e.has.Name + "; change the port of one of them"
}

// nodePortAddresses adds loopback, sorts and removes doubles.
func nodePortAddresses(node []netip.Addr) []netip.Addr {
	all := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	for _, a := range node {
		if a.IsValid() {
			all = append(all, a.Unmap())
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

func sameService(a, b *Service) bool {
	return a.Headless == b.Headless && a.AffinityTimeout == b.AffinityTimeout &&
		a.InternalLocal == b.InternalLocal && a.ExternalLocal == b.ExternalLocal &&
		a.PublishNotReady == b.PublishNotReady && a.ProxyHeader == b.ProxyHeader && a.KeepInternal == b.KeepInternal && a.KeepExternal == b.KeepExternal && slices.Equal(a.VIPs, b.VIPs) &&
		slices.Equal(a.ExternalIPs, b.ExternalIPs) && slices.Equal(a.BalancerIPs, b.BalancerIPs) && slices.Equal(a.SourceRanges, b.SourceRanges) && samePorts(a.Ports, b.Ports)
}

func samePorts(a, b []Port) bool {
	if len(a) != len(b) {
		return false
	}
	if len(a) > 0 && &a[0] == &b[0] {
		return true // tables are immutable, so a shared slice is an unchanged one
	}
	return slices.EqualFunc(a, b, func(x, y Port) bool {
		return x.Name == y.Name && x.Protocol == y.Protocol && x.Port == y.Port && x.NodePort == y.NodePort && x.NodeIP == y.NodeIP &&
			slices.Equal(x.Endpoints, y.Endpoints)
	})
}

// barrier hands a change to every loop and returns when all have it behind them.
func barrier(loops []*loop, running bool, ask func(id int) *change) {
	var done sync.WaitGroup
	for _, l := range loops {
		c := ask(l.id)
		if !running {
			l.apply(c)
			continue
		}
		done.Add(1)
		c.done = done.Done
		l.post(c)
	}
	done.Wait()
}
