package server

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/peapod-sh/peapod/sched/autoscale"
	"github.com/peapod-sh/peapod/sched/reconcile"
	"github.com/peapod-sh/peapod/server/kube"
)

const (
	// usagePeriod is how often autoscalers are told what their pods use, as in Kubernetes.
	usagePeriod = 15 * time.Second
	// usageNodesAtOnce bounds the nodes that are asked at the same time.
	usageNodesAtOnce = 64
)

// samples is what the pods of some namespaces use.
type samples map[string]autoscale.Usage

// usageMeter asks nodes for the term: wanted has the questions, measured their answers. Each holds one, the newest that nobody has
// taken: an old question or answer is worth nothing.
type usageMeter struct {
	nodes    kube.NodeTransport
	wanted   chan reconcile.Measured
	measured chan samples
}

func newUsageMeter(nodes kube.NodeTransport) *usageMeter {
	return &usageMeter{nodes: nodes, wanted: make(chan reconcile.Measured, 1), measured: make(chan samples, 1)}
}

// ask hands over a question, unless the last one is still being answered.
func (u *usageMeter) ask(m reconcile.Measured) {
	if len(m) == 0 {
		return
	}
	select {
	case u.wanted <- m:
	default:
	}
}

// Run answers questions until ctx ends.
func (u *usageMeter) Run(ctx context.Context) error {
	for {
		select {
		case m := <-u.wanted:
			select {
			case u.measured <- u.measure(ctx, m):
			case <-ctx.Done():
				return ctx.Err()
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// measure asks all nodes at once. The pods of one that does not answer are left out.
func (u *usageMeter) measure(ctx context.Context, m reconcile.Measured) samples {
	out := samples{}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(usageNodesAtOnce)
	for _, ns := range slices.Sorted(maps.Keys(m)) {
		found := autoscale.Usage{}
		out[ns] = found
		for _, node := range m[ns] {
			g.Go(func() error {
				list, err := kube.UsageOn(ctx, u.nodes, node, ns)
				if err != nil {
					return nil // the decision is made without these pods, and says so
				}
				mu.Lock()
				defer mu.Unlock()
				for i := range list {
					found[list[i].Name] = &list[i]
				}
				return nil
			})
		}
	}
	_ = g.Wait() // none fails
	return out
}
