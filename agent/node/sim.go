package node

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"net/netip"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/agent"
	"github.com/peapod-sh/peapod/agent/link"
	"github.com/peapod-sh/peapod/agent/nodehttp"
	"github.com/peapod-sh/peapod/agent/runtime/sim"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// SimConfig of one simulated node: a real agent and a real link over an executor without processes.
type SimConfig struct {
	Name     string
	Address  netip.Addr // shown only
	PodsMax  int64
	Identity *pki.Identity
	Servers  []wire.ServerAddress
	Version  string
	Logger   hclog.Logger
}

// RunSim is a simulated node's life.
func RunSim(ctx context.Context, cfg SimConfig) error {
	n := &simNode{cfg: cfg}
	var handler http.Handler
	n.link = link.New(link.Config{Identity: cfg.Identity, Seeds: cfg.Servers, Logger: cfg.Logger,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) })})
	n.agent = agent.New(agent.Config{NodeName: cfg.Name, NodeIPs: []netip.Addr{cfg.Address}, Executor: sim.New(0), Images: simImages{},
		Network: simNetwork{}, ControlPlane: n.link, Version: cfg.Version, PodsMax: cfg.PodsMax, Quiet: true, Logger: cfg.Logger})
	handler = nodehttp.New(n.agent)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.link.Run(ctx) })
	g.Go(func() error { return n.agent.Run(ctx) })
	g.Go(func() error { return n.register(ctx) })
	g.Go(func() error { return n.link.Watch(ctx, []string{pods}, simSink{n.agent, cfg.Logger}) })
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("simulated node %s: %w", cfg.Name, err)
	}
	return nil
}

type simNode struct {
	cfg   SimConfig
	link  *link.Link
	agent *agent.Agent
}

func (n *simNode) register(ctx context.Context) error {
	object := n.agent.NodeObject()
	object.Labels["peapod.io/sim"] = "true"
	encoded, err := object.Marshal()
	if err != nil {
		return err
	}
	for {
		_, err := n.link.Register(ctx, encoded)
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

// simSink gives the agent its pods.
type simSink struct {
	agent *agent.Agent
	log   hclog.Logger
}

func (s simSink) Begin()  { s.agent.BeginSync() }
func (s simSink) Synced() { s.agent.Synced() }

func (s simSink) Event(e *wire.Event) {
	if e.Type == wire.EventDeleted {
		s.agent.Remove(types.UID(e.UID))
		return
	}
	p := &corev1.Pod{}
	if err := p.Unmarshal(e.Object); err != nil {
		s.log.Error("cannot read a pod that a server sent", "namespace", e.Namespace, "name", e.Name, "error", err)
		return
	}
	s.agent.Put(p)
}

// simImages has every image.
type simImages struct{}

func (simImages) Ensure(_ context.Context, ref string, _ corev1.PullPolicy, _ [][]byte, _ func()) (*agent.Image, error) {
	return &agent.Image{Ref: ref, ID: ref + "@sim", Cmd: []string{"/sim"},
		ResolveUser: func(string) (uint32, uint32, []uint32, error) { return 0, 0, nil, nil }}, nil
}

func (s simImages) Lookup(ref string) (*agent.Image, bool) {
	i, err := s.Ensure(context.Background(), ref, corev1.PullNever, nil, nil)
	return i, err == nil
}

// GC has nothing to remove.
func (simImages) GC(context.Context, int64) (int64, error) { return 0, nil }

// simNetwork invents an address for each pod, in a network that nobody routes.
type simNetwork struct{}

func (simNetwork) Attach(_ context.Context, podUID, _ string) (netip.Addr, error) {
	h := fnv.New32a()
	h.Write([]byte(podUID))
	v := h.Sum32()
	return netip.AddrFrom4([4]byte{100, 64 | byte(v>>16)&63, byte(v >> 8), byte(v)}), nil
}

func (simNetwork) Detach(context.Context, string) error { return nil }
