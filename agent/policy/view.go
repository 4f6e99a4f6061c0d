package policy

import (
	"net/netip"
	"sync"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/peapod-sh/peapod/agent/network"
)

// View is everything at one moment. It is safe for concurrent use.
type View struct {
	policies   map[string][]*compiled // by namespace
	namespaces map[string]labels.Set
	own        map[*Pod]bool // of this node
	byAddress  map[netip.Addr]*Pod
	byTenant   map[string][]*Pod // those with an address, by namespace
	node       map[netip.Addr]bool

	mu    sync.Mutex
	memo  map[*Pod]*[directions]verdict                 // guarded by mu
	peers map[*rule][]network.AddrRange                 // guarded by mu
	named map[namedPeers]map[uint16][]network.AddrRange // guarded by mu
}

// verdict is what one direction of a pod allows, if it is isolated.
type verdict struct {
	isolated bool
	allows   []network.Allow
}

// namedPeers are the peers of an egress rule that have a port of a name.
type namedPeers struct {
	rule *rule
	port namedPort
}

// Filter is what the kernel is to hold this node's pods to. Its parts are shared with later calls.
func (v *View) Filter() *network.Filter {
	v.mu.Lock()
	defer v.mu.Unlock()
	f := &network.Filter{Egress: map[netip.Addr][]network.Allow{}, Ingress: map[netip.Addr][]network.Allow{}}
	for p := range v.own {
		for _, a := range p.addresses() {
			if v.byAddress[a] == p {
				v.hold(f, p, a)
			}
		}
	}
	return f
}

// hold adds to a filter what an address of a pod is held to.
func (v *View) hold(f *network.Filter, p *Pod, a netip.Addr) {
	verdicts := v.verdicts(p)
	if in := &verdicts[ingress]; in.isolated {
		f.Ingress[a] = in.allows
	}
	if out := &verdicts[egress]; out.isolated {
		f.Egress[a] = out.allows
	}
}

// Allows says whether a client may connect to an endpoint. Between a node and its own pods everything is allowed, and a pod may
// always reach itself.
func (v *View) Allows(client netip.Addr, to netip.AddrPort, protocol uint8) bool {
	client, dest := client.Unmap(), to.Addr().Unmap()
	from, pod := v.byAddress[client], v.byAddress[dest]
	if len(v.policies) == 0 || client == dest || from != nil && from == pod {
		return true
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if from != nil && !v.isNode(dest) {
		if out := &v.verdicts(from)[egress]; out.isolated && !allowed(out.allows, dest, to.Port(), protocol) {
			return false
		}
	}
	if pod == nil || v.isNode(client) && v.own[pod] {
		return true
	}
	in := &v.verdicts(pod)[ingress]
	return !in.isolated || allowed(in.allows, client, to.Port(), protocol)
}

func (v *View) isNode(a netip.Addr) bool { return v.node[a] || a.IsLoopback() }

func allowed(list []network.Allow, peer netip.Addr, port uint16, protocol uint8) bool {
	for i := range list {
		if a := &list[i]; (a.AnyPeer || contains(a.Peers, peer)) && (a.AnyPort || hasPort(a.Ports, port, protocol)) {
			return true
		}
	}
	return false
}

func hasPort(list []network.PortRange, port uint16, protocol uint8) bool {
	for _, p := range list {
		if p.Protocol == protocol && p.First <= port && port <= p.Last {
			return true
		}
	}
	return false
}
