package policy

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/peapod-sh/peapod/agent/network"
)

// All methods here are called with mu held.

// verdicts says what a pod allows in both directions: the sum of all policies that select it.
func (v *View) verdicts(p *Pod) *[directions]verdict {
	if known := v.memo[p]; known != nil {
		return known
	}
	out := &[directions]verdict{}
	for _, c := range v.policies[p.Namespace] {
		if !c.subject.Matches(labels.Set(p.Labels)) {
			continue
		}
		for d := range directions {
			if !c.isolates[d] {
				continue
			}
			out[d].isolated = true
			for _, r := range c.rules[d] {
				out[d].allows = append(out[d].allows, v.resolve(r, d, p)...)
			}
		}
	}
	v.memo[p] = out
	return out
}

// resolve turns a rule into addresses and numbers, for one pod that it is about.
func (v *View) resolve(r *rule, d direction, p *Pod) []network.Allow {
	whole := network.Allow{AnyPeer: r.anyPeer, AnyPort: r.anyPort, Ports: r.ports}
	if !r.anyPeer {
		whole.Peers = v.peersOf(r)
	}
	if d == ingress && len(r.named) > 0 {
		whole.Ports = slices.Clone(r.ports)
		for _, n := range r.named {
			if number := p.number(n.name, n.protocol); number != 0 {
				whole.Ports = append(whole.Ports, network.PortRange{Protocol: n.protocol, First: number, Last: number})
			}
		}
	}
	var out []network.Allow
	if whole.AnyPort || len(whole.Ports) > 0 {
		out = append(out, whole)
	}
	if d == egress {
		for _, n := range r.named {
			out = append(out, v.resolveNamed(namedPeers{r, n})...)
		}
	}
	return out
}

// resolveNamed allows each peer at the port that has the name there, for the name is the destination's.
func (v *View) resolveNamed(key namedPeers) []network.Allow {
	at := v.named[key]
	if at == nil {
		at = map[uint16][]network.AddrRange{}
		v.eachPeer(key.rule, func(p *Pod) {
			if n := p.number(key.port.name, key.port.protocol); n != 0 {
				at[n] = append(at[n], p.ranges()...)
			}
		})
		for n := range at {
			at[n] = merge(at[n])
		}
		v.named[key] = at
	}
	var out []network.Allow
	for _, n := range slices.Sorted(maps.Keys(at)) {
		out = append(out, network.Allow{Peers: at[n], Ports: []network.PortRange{{Protocol: key.port.protocol, First: n, Last: n}}})
	}
	return out
}

// peersOf is the addresses that a rule allows.
func (v *View) peersOf(r *rule) []network.AddrRange {
	if known, ok := v.peers[r]; ok {
		return known
	}
	list := slices.Clone(r.blocks)
	v.eachPeer(r, func(p *Pod) { list = append(list, p.ranges()...) })
	list = merge(list)
	v.peers[r] = list
	return list
}

// eachPeer visits the pods that a rule allows; a pod that is selected twice comes twice.
func (v *View) eachPeer(r *rule, visit func(*Pod)) {
	everything := podPeer{labels.Everything(), labels.Everything()}
	peers := r.pods
	if r.anyPeer {
		peers = []podPeer{everything}
	}
	for _, peer := range peers {
		if peer.namespaces == nil {
			visitMatching(v.byTenant[r.namespace], peer.pods, visit)
			continue
		}
		for name, pods := range v.byTenant {
			if peer.namespaces.Matches(v.namespaces[name]) {
				visitMatching(pods, peer.pods, visit)
			}
		}
	}
}

func visitMatching(pods []*Pod, s labels.Selector, visit func(*Pod)) {
	for _, p := range pods {
		if s.Matches(labels.Set(p.Labels)) {
			visit(p)
		}
	}
}
