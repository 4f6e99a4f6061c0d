package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/rpc/fence"
	"github.com/peapod-sh/peapod/rpc/liveness"
	"github.com/peapod-sh/peapod/sched/reconcile"
	"github.com/peapod-sh/peapod/server/kube"
)

// lead runs one term after the other.
func (s *Server) lead(ctx context.Context) error {
	return inTurn(ctx, s.consensus.raft.LeaderCh(), s.serveTerm)
}

// inTurn does a term's work while this server leads, as leading tells, until ctx ends. The work of one term has ended before that of the
// next begins: two would write beside each other, each with what it alone has seen.
func inTurn(ctx context.Context, leading <-chan bool, work func(context.Context)) error {
	lead := false
	for {
		if lead {
			lead = untilDeposed(ctx, leading, work)
			continue
		}
		select {
		case lead = <-leading:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// untilDeposed does one term's work, and tells whether another term has begun. Raft tells only the latest: to hear again that this server
// leads means that it did not for a while.
func untilDeposed(ctx context.Context, leading <-chan bool, work func(context.Context)) bool {
	ctx, cancel := context.WithCancel(ctx)
	var working sync.WaitGroup
	working.Go(func() { work(ctx) })
	defer working.Wait()
	defer cancel()
	select {
	case again := <-leading:
		return again
	case <-ctx.Done():
		return false
	}
}

// serveTerm does a leader's work until it no longer leads. A fault ends the work, not the leadership:
// it begins again, as with a new term.
func (s *Server) serveTerm(ctx context.Context) {
	defer s.log.Info("no longer the leader")
	defer s.ready.Store(false)
	var pulse sync.WaitGroup
	defer pulse.Wait()
	pulse.Go(func() { s.consensus.pulse(ctx) })
	for ctx.Err() == nil {
		if err := s.term(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("the leader's work stopped and begins again", "error", err)
			time.Sleep(retryPause)
		}
	}
}

func (s *Server) term(ctx context.Context) error {
	if err := s.consensus.settle(); err != nil {
		return fmt.Errorf("waiting for the earlier log: %w", err)
	}
	s.ready.Store(true)
	s.log.Info("leading")
	leases, err := s.beginTerm(ctx)
	if err != nil {
		return err
	}
	breath := &breather{}
	engine, err := s.newEngine(fencer(leases), breath.rest)
	if err != nil {
		return err
	}
	verdicts := make(chan liveness.Transition, verdictsMax)
	t := &term{state: s.state, proposer: s.proposer, engine: engine, verdicts: verdicts, usage: newUsageMeter(s.nodes), asker: newAsker(s.api.Load),
		log: s.log.Named("term"), now: s.now, breath: breath}
	t.judge(s.watchman.begin(s.nodeNames()))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return t.Run(ctx) })
	g.Go(func() error { return t.usage.Run(ctx) })
	g.Go(func() error { return t.asker.Run(ctx) })
	g.Go(func() error { return s.watchman.Run(ctx, verdicts) })
	g.Go(func() error { return s.housekeep(ctx) })
	g.Go(func() error { return s.signRequests(ctx) })
	g.Go(func() error { return s.aggregateRoles(ctx) })
	g.Go(func() error { return s.fillTokenSecrets(ctx) })
	g.Go(func() error { return s.keepAPIServices(ctx) })
	g.Go(func() error { return s.migrateCustom(ctx) })
	g.Go(func() error { return s.emptyAggregated(ctx) })
	g.Go(func() error { return s.checkPolicies(ctx) })
	return g.Wait()
}

// beginTerm makes a term's first writes. To give up on them because they take long, and to begin again, would not make them quicker.
func (s *Server) beginTerm(ctx context.Context) (*fence.Leases, error) {
	ctx, cancel := context.WithTimeout(ctx, beginTimeout)
	defer cancel()
	if err := s.genesis(ctx); err != nil {
		return nil, err
	}
	return s.beginLeases(ctx)
}

func (s *Server) newEngine(leases reconcile.Leases, breathe func()) (*reconcile.Engine, error) {
	network, err := s.meta.network()
	if err != nil {
		return nil, err
	}
	ca, err := s.meta.ca()
	if err != nil {
		return nil, err
	}
	prepare := func(p *corev1.Pod, account *corev1.ServiceAccount, facts reconcile.Facts) error {
		return kube.PreparePod(p, account, facts)
	}
	asked := func(p *corev1.Pod, facts reconcile.Facts) bool { return kube.PodsAsked(p, facts) }
	return reconcile.New(reconcile.Config{Seed: rand.Uint64(), ClusterCIDR: network.ClusterCIDR, ClusterCIDR6: network.ClusterCIDR6,
		RootCA: string(ca.CertPEM()), EndedPodsMax: endedPodsMax, PreparePod: prepare, Asked: asked, Leases: leases, Strategy: s.cfg.Strategy,
		StatusPause: statusPause, PodEventsPerSecond: podEventsPerSecond, Breathe: breathe}), nil
}
