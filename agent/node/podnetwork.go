package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent/cni"
	"github.com/peapod-sh/peapod/agent/network"
	"github.com/peapod-sh/peapod/netproxy"
)

// podNetwork is the network of the node's pods: the built-in one, or plugins.
type podNetwork interface {
	// Setup must succeed before pods can be attached. The CIDRs are the node's, one of each family.
	Setup(ctx context.Context, cidrs ...netip.Prefix) error
	Attach(ctx context.Context, podUID, netns string) ([]netip.Addr, error)
	Detach(ctx context.Context, podUID string) error
	Shape(ctx context.Context, podUID, netns string, ingress, egress uint64) error
	// Keep releases what pods had that are not among these; those that were attached since the agent's start are spared.
	Keep(ctx context.Context, uids map[string]bool)
	SetPeers(list []network.Peer)
	SetFilter(f *network.Filter) error
	// KeepSources has pods answer to transparent sockets of the service proxy that have clients' addresses; endpoints are pods of this node
	// that are reached so.
	KeepSources(on bool, endpoints []netip.Addr) error
	// KeepsSource says whether what a pod answers to a client's address comes to this node. It is quick.
	KeepsSource(client, endpoint netip.Addr) bool
	// HostPorts says that it forwards ports of the node by itself.
	HostPorts() bool
	Stop()
	Close(ctx context.Context) error
}

var (
	_ podNetwork = (*network.Network)(nil)
	_ podNetwork = (*cni.Network)(nil)
)

// openNetwork has the built-in network, or that of plugins if there is a configuration for them.
func (n *node) openNetwork(ctx context.Context, built network.Config) (err error) {
	if n.cfg.CNIConf == "" {
		// A nil *network.Network must not look like a network.
		own, err := network.New(built)
		if err == nil {
			n.network = own
		}
		return err
	}
	plugins, err := cni.New(ctx, cni.Config{Conf: n.cfg.CNIConf, Plugins: n.cfg.CNIPlugins, Pod: n.podByUID,
		StateDir: filepath.Join(n.cfg.DataDir, "cni"), Logger: n.log.Named("cni")})
	if err != nil {
		return fmt.Errorf("--cni-conf: %w", err)
	}
	n.network = plugins
	return nil
}

func (n *node) podByUID(uid string) *corev1.Pod {
	for _, p := range n.agent.Pods() {
		if string(p.UID) == uid {
			return p
		}
	}
	return nil
}

// keepNetwork has the network forget the pods of an earlier agent that are gone, once it is known which are not.
func (n *node) keepNetwork(ctx context.Context) error {
	select {
	case <-n.agent.Knowing():
	case <-ctx.Done():
		return ctx.Err()
	}
	sandboxes, err := n.executor.List(ctx)
	if err != nil {
		n.log.Warn("addresses of pods that are gone stay taken until the agent's next start", "error", err)
		return nil
	}
	keep := map[string]bool{}
	for _, s := range sandboxes {
		keep[s.PodUID] = true // its end detaches it
	}
	for _, p := range n.agent.Pods() {
		keep[string(p.UID)] = true
	}
	n.network.Keep(ctx, keep)
	return nil
}

// keepSources has the network do what services need whose endpoints see the addresses of their clients. What it cannot do the table does
// not ask for.
func (n *node) keepSources(t *netproxy.Table) *netproxy.Table {
	wanted, endpoints := false, []netip.Addr(nil)
	for i := range t.Services {
		s := &t.Services[i]
		if !s.KeepInternal && !s.KeepExternal {
			continue
		}
		wanted = true
		for _, p := range s.Ports {
			for _, e := range p.Endpoints {
				if e.Node == t.NodeName {
					endpoints = append(endpoints, e.Address.Addr())
				}
			}
		}
	}
	err := n.network.KeepSources(wanted, endpoints)
	if err == nil || !wanted {
		return t
	}
	if !errors.Is(err, network.ErrNoSetup) { // soon there is one, and another table
		n.log.Warn("endpoints see this node instead of their clients, though services ask for that", "error", err)
	}
	out := *t
	out.Services = slices.Clone(t.Services)
	for i := range out.Services {
		out.Services[i].KeepInternal, out.Services[i].KeepExternal = false, false
	}
	return &out
}

// forwarding is the table with the ports of the node that it forwards to pods.
func (n *node) forwarding(t *netproxy.Table) *netproxy.Table {
	if n.network.HostPorts() {
		return t
	}
	return withHostPorts(t, n.agent.Pods())
}
