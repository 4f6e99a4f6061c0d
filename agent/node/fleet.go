package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent"
	"github.com/peapod-sh/peapod/agent/link"
	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// registrationsAtOnce bounds how many nodes of a fleet are announced at the same time.
const registrationsAtOnce = 64

// FleetConfig of many simulated nodes.
type FleetConfig struct {
	Identity *pki.Identity // of a fleet
	Nodes    wire.Numbers
	Address  netip.Addr // shown only
	PodsMax  int64      // a node
	Servers  []wire.ServerAddress
	Version  string
	Logger   hclog.Logger
}

// RunFleet is the life of simulated nodes, which share one link.
func RunFleet(ctx context.Context, cfg FleetConfig) error {
	name := cfg.Identity.Peer().Name
	l := link.New(link.Config{Identity: cfg.Identity, Seeds: cfg.Servers, Logger: cfg.Logger, Nodes: []wire.Numbers{cfg.Nodes}})
	fleet := agent.NewFleet(cfg.Address, l, cfg.Logger)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.Run(ctx) })
	g.Go(func() error { fleet.Run(ctx); return ctx.Err() })
	g.Go(func() error { return registerFleet(ctx, l, cfg) })
	g.Go(func() error { return l.Watch(ctx, []string{pods}, nil, fleetSink{fleet, cfg.Logger}) })
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("simulated nodes %s: %w", name, err)
	}
	return nil
}

// registerFleet announces the nodes, which differ in nothing but their names.
func registerFleet(ctx context.Context, l *link.Link, cfg FleetConfig) error {
	name := cfg.Identity.Peer().Name
	model := agent.New(agent.Config{NodeName: name, NodeIPs: []netip.Addr{cfg.Address}, Version: cfg.Version, PodsMax: cfg.PodsMax, Logger: cfg.Logger}).NodeObject()
	model.Labels[api.SimulatedLabel] = "true"
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(registrationsAtOnce)
	for i := cfg.Nodes.First; i <= cfg.Nodes.Last; i++ {
		g.Go(func() error { return registerOne(ctx, l, named(model, name+"-"+strconv.Itoa(i))) })
	}
	return g.Wait()
}

func named(model *corev1.Node, name string) *corev1.Node {
	n := model.DeepCopy()
	n.Name, n.Labels[corev1.LabelHostname] = name, name
	for i := range n.Status.Addresses {
		if n.Status.Addresses[i].Type == corev1.NodeHostName {
			n.Status.Addresses[i].Address = name
		}
	}
	return n
}

func registerOne(ctx context.Context, l *link.Link, n *corev1.Node) error {
	encoded, err := n.Marshal()
	if err != nil {
		return err
	}
	for {
		_, err := l.Register(ctx, encoded)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		select {
		case <-time.After(registerPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fleetSink gives a fleet its pods.
type fleetSink struct {
	fleet *agent.Fleet
	log   hclog.Logger
}

func (fleetSink) Begin([]string) {}
func (fleetSink) Synced(uint64)  {}

func (s fleetSink) Event(e *wire.Event) {
	if e.Type == wire.EventDeleted {
		return // it keeps nothing that could go
	}
	p, err := api.DecodeSharedPod(e.Object)
	if err != nil {
		s.log.Error("cannot read a pod that a server sent", "namespace", e.Namespace, "name", e.Name, "error", err)
		return
	}
	s.fleet.Put(p)
}
