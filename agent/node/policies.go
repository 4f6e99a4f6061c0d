package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/agent/network"
	"github.com/peapod-sh/peapod/agent/policy"
	"github.com/peapod-sh/peapod/netproxy"
	"github.com/peapod-sh/peapod/rpc/wire"
)

const (
	// policyPause is how long news are collected before the packet filter is written anew.
	policyPause = 50 * time.Millisecond
	// policyRetry is the pause after a failure.
	policyRetry = time.Second
)

// policies keeps the packet filter as the network policies want it, and answers the proxy. As the agent's network it has a pod's
// rules in force before the pod's first process starts.
type policies struct {
	model   *policy.Model
	network podNetwork
	log     hclog.Logger
	dirty   chan struct{} // capacity 1: the filter is old

	mu      sync.Mutex // held while the filter is written, so that the newest is written last
	trusted []netip.Addr
}

func newPolicies(own []netip.Addr, n podNetwork, log hclog.Logger) *policies {
	return &policies{model: policy.New(own...), network: n, log: log, dirty: make(chan struct{}, 1)}
}

// run writes the filter whenever something has changed, until ctx ends.
func (p *policies) run(ctx context.Context) error {
	for {
		select {
		case <-p.dirty:
		case <-ctx.Done():
			return ctx.Err()
		}
		pause := policyPause
		if err := p.enforce(); err != nil && !errors.Is(err, network.ErrNoSetup) { // setUp will say when it is
			p.log.Error("network policies are not in force as they should be; will try again", "error", err)
			p.changed(true)
			pause = policyRetry
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// enforce puts in force what is known now.
func (p *policies) enforce() error {
	select {
	case <-p.model.Known():
	default:
		return nil // the rules of an earlier agent are better than half of them
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.model.View().Filter()
	f.Trusted = p.trusted
	return p.network.SetFilter(f)
}

func (p *policies) changed(yes bool) {
	if !yes {
		return
	}
	select {
	case p.dirty <- struct{}{}:
	default:
	}
}

// setUp says that the pod network is there, with this node's CIDRs.
func (p *policies) setUp(cidrs []netip.Prefix) {
	for _, c := range cidrs {
		p.model.AddNode(network.Gateway(c))
	}
	p.changed(true)
}

// trust takes the other nodes. Their proxies have the clients' addresses, and decide.
func (p *policies) trust(peers []network.Peer) {
	var list []netip.Addr
	for _, x := range peers {
		if x.PodCIDR.IsValid() {
			list = append(list, network.Gateway(x.PodCIDR))
		}
		if x.PodCIDR6.IsValid() {
			list = append(list, network.Gateway(x.PodCIDR6))
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	p.mu.Lock()
	p.trusted = slices.Compact(list)
	p.mu.Unlock()
	p.changed(true)
}

// Attach gives a pod its addresses and puts its rules in force.
func (p *policies) Attach(ctx context.Context, uid, netns string) ([]netip.Addr, error) {
	select {
	case <-p.model.Known():
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ips, err := p.network.Attach(ctx, uid, netns)
	if err != nil {
		return nil, err
	}
	p.model.Attach(types.UID(uid), ips...)
	if err := p.enforce(); err != nil {
		return nil, fmt.Errorf("before pod %s may start: %w", uid, err)
	}
	return ips, nil
}

// Shape limits a pod's bandwidth.
func (p *policies) Shape(ctx context.Context, uid, netns string, ingress, egress uint64) error {
	return p.network.Shape(ctx, uid, netns, ingress, egress)
}

// Detach takes a pod's address back, once its processes have ended. The model forgets it first: from then on the address is the
// next pod's.
func (p *policies) Detach(ctx context.Context, uid string) error {
	p.model.Detach(types.UID(uid))
	defer p.changed(true)
	return p.network.Detach(ctx, uid)
}

// allows answers the proxy.
func (p *policies) allows(client netip.Addr, to netip.AddrPort, protocol netproxy.Protocol) bool {
	number := uint8(6)
	if protocol == netproxy.UDP {
		number = 17
	}
	return p.model.View().Allows(client, to, number)
}

// event takes what the watch tells of policies, namespaces and other nodes' pods.
func (p *policies) event(e *wire.Event) error {
	switch {
	case e.Resource == netPolicies && e.Type == wire.EventDeleted:
		p.changed(p.model.DeletePolicy(e.Namespace, e.Name))
	case e.Resource == netPolicies:
		o := &networkingv1.NetworkPolicy{}
		if err := o.Unmarshal(e.Object); err != nil {
			return err
		}
		p.changed(p.model.PutPolicy(o))
	case e.Resource == namespaces && e.Type == wire.EventDeleted:
		p.changed(p.model.DeleteNamespace(e.Name))
	case e.Resource == namespaces:
		o := &corev1.Namespace{}
		if err := o.Unmarshal(e.Object); err != nil {
			return err
		}
		p.changed(p.model.PutNamespace(o.Name, o.Labels))
	case e.Type == wire.EventDeleted:
		p.changed(p.model.DeletePod(types.UID(e.UID)))
	default:
		o := &corev1.Pod{}
		if err := o.Unmarshal(e.Object); err != nil {
			return err
		}
		p.changed(p.model.PutOther(policy.PodOf(o)))
	}
	return nil
}
