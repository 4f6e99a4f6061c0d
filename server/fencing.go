package server

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/fence"
	"github.com/peapod-sh/peapod/rpc/wire"
	"github.com/peapod-sh/peapod/sched/reconcile"
)

// fencing is the cluster's rule; a cluster of before there was one has the default.
func (m settings) fencing() (fence.Times, error) {
	b, ok := m.state.Meta(metaFencing)
	if !ok {
		return fence.Default(), nil
	}
	t := fence.Default()
	if err := json.Unmarshal(b, &t.Lease); err != nil {
		return t, fmt.Errorf("reading the cluster's fencing times: %w", err)
	}
	return t, nil
}

// fencer are the leases as the engine sees them: none where nothing is ever fenced.
func fencer(l *fence.Leases) reconcile.Leases {
	if l.Times().Lease == 0 {
		return nil
	}
	return l
}

// beginLeases starts a term's leases. Everything that an earlier term of this server proposed has been answered before, so that
// none of its decisions comes true after a node of this term has a lease.
func (s *Server) beginLeases(ctx context.Context) (*fence.Leases, error) {
	if _, err := s.proposer.Propose(ctx); err != nil { // waits behind them
		return nil, fmt.Errorf("waiting for the earlier proposals: %w", err)
	}
	times, err := s.meta.fencing()
	if err != nil {
		return nil, err
	}
	leases := fence.NewLeases(times, s.now())
	s.leases.Store(leases)
	return leases, nil
}

// leaseForNode answers a node that runs what must not run twice. Any server takes the question to the leader: a node that one
// path to it is left is not cut off.
func (s *Server) leaseForNode(ctx context.Context, from rpc.Caller, _ *wire.LeaseRequest) (*wire.LeaseReply, error) {
	return s.lease(ctx, from.Name)
}

// leaseForServer does so for a node that asked another server.
func (s *Server) leaseForServer(ctx context.Context, _ rpc.Caller, q *wire.LeaseRequest) (*wire.LeaseReply, error) {
	if !s.consensus.Leading() {
		return nil, rpc.Errorf(rpc.CodeUnavailable, "%v", errNotLeader)
	}
	return s.lease(ctx, q.Node)
}

func (s *Server) lease(ctx context.Context, node string) (*wire.LeaseReply, error) {
	if s.consensus.Leading() {
		return s.grant(ctx, node)
	}
	name, address, err := s.leader()
	if err != nil {
		return nil, rpc.Errorf(rpc.CodeUnavailable, "%v", err)
	}
	reply := &wire.LeaseReply{}
	if err := s.pool.Call(ctx, name, address, wire.MethodGrant, &wire.LeaseRequest{Node: node}, reply); err != nil {
		return nil, rpc.Errorf(rpc.CodeUnavailable, "%v", err)
	}
	return reply, nil
}

// grant gives a lease if a majority follows this leader after the question came.
func (s *Server) grant(ctx context.Context, node string) (*wire.LeaseReply, error) {
	leases, asked := s.leases.Load(), s.now()
	switch {
	case leases == nil:
		return nil, rpc.Errorf(rpc.CodeUnavailable, "the leader has only begun")
	case leases.Times().Lease == 0:
		return &wire.LeaseReply{}, nil
	case !leases.Allowed(node):
		return nil, rpc.Errorf(rpc.CodeUnavailable, "the leader takes node %s for dead", node)
	}
	if _, err := s.followed.Index(ctx); err != nil {
		return nil, rpc.Errorf(rpc.CodeUnavailable, "%v", err)
	}
	if !leases.Grant(node, asked) {
		return nil, rpc.Errorf(rpc.CodeUnavailable, "the leader takes node %s for dead", node)
	}
	times := leases.Times()
	return &wire.LeaseReply{Length: times.Lease, Renew: times.Renew(), Index: s.state.Index()}, nil
}

// confirmFollowed finds that at some time after the call a majority had not voted for a later leader. raft's own word for it
// (VerifyLeader) may rest on an answer that was given before: fine for who reads, but a lease promises something.
func (s *Server) confirmFollowed(ctx context.Context) (term uint64, err error) {
	term = s.consensus.raft.CurrentTerm()
	if !s.consensus.Leading() || s.consensus.raft.CurrentTerm() != term {
		return 0, errNotLeader
	}
	members, err := s.consensus.members()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, followedWait)
	defer cancel()
	votes := 0
	for yes := range s.askTerms(ctx, members, term) {
		if yes {
			votes++
		}
		if 2*votes > len(members) {
			return term, nil
		}
	}
	return 0, errNotLeader
}

// followedWait bounds a round of questions, and with it what one silent server costs.
const followedWait = time.Second

// askTerms asks every member whether it is still in the term. The channel takes all answers, also those nobody waits for.
func (s *Server) askTerms(ctx context.Context, members []string, term uint64) <-chan bool {
	answers := make(chan bool, len(members))
	var asked sync.WaitGroup
	for _, m := range members {
		if m == s.cfg.Name {
			answers <- s.consensus.raft.CurrentTerm() == term
			continue
		}
		asked.Go(func() { answers <- s.inTerm(ctx, m, term) })
	}
	go func() {
		asked.Wait()
		close(answers)
	}()
	return answers
}

// inTerm asks another server.
func (s *Server) inTerm(ctx context.Context, member string, term uint64) bool {
	address, err := s.addressOf(member)
	if err != nil {
		return false
	}
	var reply wire.TermReply
	err = s.pool.Call(ctx, member, address, wire.MethodTerm, &wire.TermRequest{}, &reply)
	return err == nil && reply.Term == term
}

// termForServer answers it. A server raises its term before it votes, so its vote in a later one comes after this.
func (s *Server) termForServer(context.Context, rpc.Caller, *wire.TermRequest) (*wire.TermReply, error) {
	return &wire.TermReply{Term: s.consensus.raft.CurrentTerm()}, nil
}
