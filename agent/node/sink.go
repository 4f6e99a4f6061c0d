package node

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/agent/network"
	"github.com/peapod-sh/peapod/agent/policy"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// Resources that a node follows.
const (
	pods           = "pods"
	nodes          = "nodes"
	svcs           = "services"
	epSlices       = "endpointslices.discovery.k8s.io"
	volumes        = "persistentvolumes"
	ingresses      = "ingresses.networking.k8s.io"
	ingressClasses = "ingressclasses.networking.k8s.io"
	secrets        = "secrets" // of which a node hears those with certificates of ingresses
	netPolicies    = "networkpolicies.networking.k8s.io"
	namespaces     = "namespaces"
)

// watchedAlways are the resources that the node follows and that every server tells of.
var watchedAlways = []string{nodes, svcs, epSlices, pods, volumes}

// Those that came later, by what they are for. A server that is one version older may not know them: new ones belong here.
var (
	watchedForPolicies  = []string{netPolicies, namespaces, wire.PodAddresses}
	watchedForIngresses = []string{ingresses, ingressClasses, secrets}
)

// watchedIfServed are the others that the node follows.
func (n *node) watchedIfServed() []string {
	if n.ingress == nil {
		return watchedForPolicies
	}
	return slices.Concat(watchedForPolicies, watchedForIngresses)
}

// lacksAny says whether something of a group is not told.
func lacksAny(group, untold []string) bool {
	return slices.ContainsFunc(group, func(r string) bool { return slices.Contains(untold, r) })
}

// sink hands the watch's events to the parts. While a watch starts over, the proxy's table stays as it
// was: half a cluster would refuse connections.
type sink struct {
	node   *node
	synced bool
}

func (s *sink) Begin(untold []string) {
	s.synced = false
	s.node.agent.BeginSync()
	s.node.model.Begin()
	s.node.policies.model.Begin(lacksAny(watchedForPolicies, untold))
	if s.node.ingress != nil && !lacksAny(watchedForIngresses, untold) {
		s.node.ingress.Begin()
	}
	s.node.peers.reset()
	if s.node.members != nil {
		s.node.members.reset()
	}
}

func (s *sink) Synced(revision uint64) {
	s.synced = true
	s.node.model.Synced(revision)
	s.node.policies.model.Synced()
	s.node.policies.changed(true)
	if s.node.ingress != nil {
		s.node.ingress.Synced()
	}
	s.node.peers.synced()
	s.node.markDirty()
	s.node.agent.Synced()
}

func (s *sink) Event(e *wire.Event) {
	var err error
	switch e.Resource {
	case pods:
		err = s.pod(e)
	case nodes:
		err = s.machine(e)
		if err == nil {
			err = s.node.peers.event(e)
		}
		if err == nil && s.node.members != nil {
			err = s.node.members.event(e)
		}
	case volumes:
		err = s.volume(e)
	case ingresses, ingressClasses, secrets:
		err = s.ingress(e)
	case svcs, epSlices:
		err = s.service(e)
	case netPolicies, namespaces, wire.PodAddresses:
		err = s.node.policies.event(e)
	}
	if err != nil {
		s.node.log.Error("cannot read an object that a server sent", "resource", e.Resource, "namespace", e.Namespace, "name", e.Name, "error", err)
	}
}

func (s *sink) pod(e *wire.Event) error {
	rules := s.node.policies
	if e.Type == wire.EventDeleted {
		rules.changed(rules.model.DeletePod(types.UID(e.UID)))
		s.node.agent.Remove(types.UID(e.UID))
		return nil
	}
	p := &corev1.Pod{}
	if err := p.Unmarshal(e.Object); err != nil {
		return err
	}
	rules.changed(rules.model.PutOwn(policy.PodOf(p))) // before the pod can start
	s.node.agent.Put(p)
	return nil
}

func (s *sink) volume(e *wire.Event) error {
	if e.Type == wire.EventDeleted {
		s.node.agent.RemoveVolume(types.UID(e.UID))
		return nil
	}
	v := &corev1.PersistentVolume{}
	if err := v.Unmarshal(e.Object); err != nil {
		return err
	}
	s.node.agent.PutVolume(v)
	return nil
}

// machine tells the model of services where nodes are.
func (s *sink) machine(e *wire.Event) error {
	if e.Type == wire.EventDeleted {
		s.node.model.DeleteNode(e.Name)
		return nil
	}
	o := &corev1.Node{}
	if err := o.Unmarshal(e.Object); err != nil {
		return err
	}
	if s.node.model.PutNode(o) && s.synced {
		s.node.markDirty()
	}
	return nil
}

func (s *sink) service(e *wire.Event) error {
	model := s.node.model
	switch {
	case e.Type == wire.EventDeleted && e.Resource == svcs:
		model.DeleteService(e.Namespace, e.Name)
	case e.Type == wire.EventDeleted:
		model.DeleteSlice(e.Namespace, e.Name)
	case e.Resource == svcs:
		o := &corev1.Service{}
		if err := o.Unmarshal(e.Object); err != nil {
			return err
		}
		model.PutService(o)
	default:
		o := &discoveryv1.EndpointSlice{}
		if err := o.Unmarshal(e.Object); err != nil {
			return err
		}
		model.PutSlice(o)
	}
	model.Reached(e.Revision)
	if s.synced {
		s.node.markDirty()
	}
	return nil
}

// peers follows the Node objects: this node's own CIDR, and the routes to the others.
type peers struct {
	self string
	set  func([]network.Peer)

	mu    sync.Mutex
	known map[string]network.Peer
	own   []netip.Prefix
	has   chan struct{} // closed when own is known
	live  bool          // the pod network is set up
	whole bool          // the watch is synced
}

func newPeers(self string, set func([]network.Peer)) *peers {
	return &peers{self: self, set: set, known: map[string]network.Peer{}, has: make(chan struct{})}
}

func (p *peers) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known, p.whole = map[string]network.Peer{}, false
}

func (p *peers) synced() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.whole = true
	p.apply()
}

// ready says that routes can be made from now on.
func (p *peers) ready() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live = true
	p.apply()
}

// ownCIDRs waits for the CIDRs of this node's pods, one of each family.
func (p *peers) ownCIDRs(ctx context.Context) ([]netip.Prefix, error) {
	select {
	case <-p.has:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.own, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *peers) event(e *wire.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, had := p.known[e.Name]
	if e.Type == wire.EventDeleted {
		delete(p.known, e.Name)
		p.apply()
		return nil
	}
	o := &corev1.Node{}
	if err := o.Unmarshal(e.Object); err != nil {
		return err
	}
	peer, ok := peerOf(o)
	if !ok {
		return nil
	}
	if o.Name == p.self {
		if len(p.own) == 0 {
			p.own = []netip.Prefix{peer.PodCIDR}
			if peer.PodCIDR6.IsValid() {
				p.own = append(p.own, peer.PodCIDR6)
			}
			close(p.has)
		}
		return nil
	}
	if p.known[o.Name] = peer; !had || before != peer {
		p.apply()
	}
	return nil
}

func (p *peers) apply() {
	if !p.live || !p.whole {
		return
	}
	list := make([]network.Peer, 0, len(p.known))
	for _, x := range p.known {
		list = append(list, x)
	}
	p.set(list)
}

// peerOf reads what routing needs; false if the node has no CIDR or no address yet.
func peerOf(o *corev1.Node) (network.Peer, bool) {
	cidr, err := netip.ParsePrefix(o.Spec.PodCIDR)
	if err != nil {
		return network.Peer{}, false
	}
	var six netip.Prefix
	if len(o.Spec.PodCIDRs) > 1 {
		six, _ = netip.ParsePrefix(o.Spec.PodCIDRs[1])
	}
	for _, a := range o.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		if ip, err := netip.ParseAddr(a.Address); err == nil {
			return network.Peer{Name: o.Name, NodeIP: ip, PodCIDR: cidr, PodCIDR6: six}, true
		}
	}
	return network.Peer{}, false
}
