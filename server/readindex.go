package server

import (
	"context"
	"errors"
	"time"

	"github.com/peapod-sh/peapod/rpc/wire"
)

// leads says that this server leads and knows every write acknowledged before its term.
func (s *Server) leads() bool { return s.ready.Load() && s.consensus.Leading() }

// confirm finds an index for linearizable reads: from the quorum, if we lead, else from the leader.
func (s *Server) confirm(ctx context.Context) (uint64, error) {
	for {
		index, err := s.confirmOnce(ctx)
		if err == nil || ctx.Err() != nil {
			return index, err
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return 0, ErrNoLeader
		}
	}
}

func (s *Server) confirmOnce(ctx context.Context) (uint64, error) {
	if s.consensus.Leading() {
		if !s.leads() {
			return 0, errNotLeader
		}
		// Not what has been applied here: a follower may have applied, and shown to somebody, what this server has only committed.
		committed := s.consensus.raft.CommitIndex()
		err := errors.Join(s.consensus.verify(), s.state.WaitPassed(ctx, committed))
		return s.state.Index(), err // of the last entry that says something: followers hear late of commits of others
	}
	name, address, err := s.leader()
	if err != nil {
		return 0, err
	}
	reply := &wire.ReadIndexReply{}
	if err := s.pool.Call(ctx, name, address, wire.MethodReadIndex, &wire.ReadIndexRequest{}, reply); err != nil {
		return 0, err
	}
	if reply.NotLeader {
		return 0, errNotLeader
	}
	return reply.Index, nil
}
