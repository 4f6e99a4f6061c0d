package server

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
)

var nodesResource = schema.GroupResource{Resource: "nodes"}

// registerMethods puts what peers may call on this server into the table.
func (s *Server) registerMethods(m *rpc.Methods) {
	rpc.RegisterStream(m, wire.MethodHeartbeat, rpc.Agents, s.heartbeat)
	rpc.Register(m, wire.MethodRegister, rpc.Agents, s.register)
	rpc.RegisterStream(m, wire.MethodWatch, rpc.Agents, s.watchNode)
	rpc.Register(m, wire.MethodGet, rpc.Nodes, s.getForNode)
	rpc.Register(m, wire.MethodWrite, rpc.Agents, s.writeForNode)
	rpc.Register(m, wire.MethodLease, rpc.Nodes, s.leaseForNode)
	rpc.Register(m, wire.MethodAwaitTables, rpc.Nodes, s.awaitTablesForNode)
	rpc.Register(m, wire.MethodToken, rpc.Nodes, s.tokenForNode)
	rpc.Register(m, wire.MethodRenew, rpc.Anyone, s.renew)
	rpc.Register(m, wire.MethodPropose, rpc.Servers, s.proposeForServer)
	rpc.Register(m, wire.MethodReadIndex, rpc.Servers, s.readIndexForServer)
	rpc.Register(m, wire.MethodGone, rpc.Servers, s.goneForServer)
	rpc.Register(m, wire.MethodAddServer, rpc.Servers, s.addServer)
	rpc.Register(m, wire.MethodGrant, rpc.Servers, s.leaseForServer)
	rpc.Register(m, wire.MethodTerm, rpc.Servers, s.termForServer)
	rpc.Register(m, wire.MethodRoot, rpc.Servers, s.rootForServer)
	rpc.Register(m, wire.MethodSealed, rpc.Servers, s.sealedForServer)
}

// heartbeat notes each sign of life and answers with who leads. A stream that ends otherwise than by
// the node's own word is a broken connection.
func (s *Server) heartbeat(_ context.Context, from rpc.Caller, q *wire.Heartbeats, stream *rpc.Stream) error {
	nodes, err := nodesOf(from.Peer, q.Nodes)
	if err != nil {
		return err
	}
	s.watchman.connected(nodes)
	defer s.watchman.broken(nodes)
	proxies := from.Role == pki.RoleNode
	if proxies {
		defer s.tables.forget(from.Name)
	}
	var told wire.HeartbeatReply
	for {
		var beat wire.Heartbeat
		if err := stream.Recv(&beat); err != nil {
			return err
		}
		s.watchman.heartbeat(nodes)
		if proxies {
			s.tables.report(from.Name, beat.Table)
		}
		leader := s.consensus.leader()
		if beat.Sequence-told.Sequence < wire.HeartbeatAnswers && leader == told.Leader && told.Sequence > 0 {
			continue
		}
		told = wire.HeartbeatReply{Sequence: beat.Sequence, Leader: leader, Servers: s.meta.servers(), LeaderContact: leader != ""}
		if err := stream.Send(&told); err != nil {
			return err
		}
	}
}

// getForNode reads one object that the node's pods name.
func (s *Server) getForNode(ctx context.Context, from rpc.Caller, q *wire.GetRequest) (*wire.GetReply, error) {
	gr := schema.ParseGroupResource(q.Resource)
	if err := s.store.Barrier(ctx); err != nil {
		return nil, rpc.Errorf(rpc.CodeUnavailable, "%v", err)
	}
	if err := s.state.WaitIndex(ctx, q.Index); err != nil {
		return nil, rpc.Errorf(rpc.CodeUnavailable, "%v", err)
	}
	if !s.nodeMayRead(from.Name, gr, q.Namespace, q.Name) {
		return &wire.GetReply{Denied: true}, nil
	}
	obj, ok := s.state.Get(gr, q.Namespace, q.Name)
	if !ok {
		return &wire.GetReply{}, nil
	}
	b, err := api.Encode(obj)
	if err != nil {
		return nil, err
	}
	return &wire.GetReply{Found: true, Object: b, Revision: revisionOf(obj)}, nil
}

// writeForNode commits what the node may write.
func (s *Server) writeForNode(ctx context.Context, from rpc.Caller, q *wire.WriteRequest) (*wire.WriteReply, error) {
	list, err := ops.Decode(q.Ops)
	if err != nil {
		return nil, rpc.Errorf(rpc.CodeInvalid, "%v", err)
	}
	if err := s.agentMayWriteAll(ctx, from.Peer, list); err != nil {
		return nil, err
	}
	a := s.proposer.submit(ctx, &proposal{encoded: q.Ops, bulk: true}, true)
	if errors.Is(a.err, ErrTooLarge) {
		return nil, rpc.Errorf(rpc.CodeTooLarge, "%v", a.err)
	}
	if a.err != nil {
		return nil, rpc.Errorf(rpc.CodeUnavailable, "%v", a.err)
	}
	return &wire.WriteReply{Results: ops.EncodeResults(a.results), Index: a.index}, nil
}

// agentMayWriteAll refuses only when this server knows what is committed: the node may know of a pod's place before it does, and takes a
// refusal for final.
func (s *Server) agentMayWriteAll(ctx context.Context, from rpc.Peer, list []ops.Op) error {
	check := func() error {
		for _, op := range list {
			if err := s.agentMayWrite(from, op); err != nil {
				return err
			}
		}
		return nil
	}
	if check() == nil {
		return nil
	}
	if err := s.store.Barrier(ctx); err != nil {
		return rpc.Errorf(rpc.CodeUnavailable, "%v", err)
	}
	if err := check(); err != nil {
		return rpc.Errorf(rpc.CodeDenied, "%v", err)
	}
	return nil
}

// proposeForServer commits what a follower forwards; it does not forward again.
func (s *Server) proposeForServer(ctx context.Context, _ rpc.Caller, q *wire.WriteRequest) (*wire.WriteReply, error) {
	if !s.consensus.Leading() {
		return &wire.WriteReply{NotLeader: true}, nil
	}
	a := s.proposer.submit(ctx, &proposal{encoded: q.Ops, bulk: len(q.Ops) > forwardedBulk}, false)
	switch {
	case errors.Is(a.err, errNotLeader):
		return &wire.WriteReply{NotLeader: true}, nil
	case a.err != nil:
		return &wire.WriteReply{Error: a.err.Error()}, nil
	}
	return &wire.WriteReply{Results: ops.EncodeResults(a.results), Index: a.index}, nil
}

func (s *Server) readIndexForServer(ctx context.Context, _ rpc.Caller, _ *wire.ReadIndexRequest) (*wire.ReadIndexReply, error) {
	if !s.leads() {
		return &wire.ReadIndexReply{NotLeader: true}, nil
	}
	index, err := s.barrier.Index(ctx)
	if err != nil {
		return &wire.ReadIndexReply{NotLeader: true}, nil
	}
	return &wire.ReadIndexReply{Index: index}, nil
}

// leader is where to send what only a leader can do.
func (s *Server) leader() (name, address string, err error) {
	name = s.consensus.leader()
	if name == "" || name == s.cfg.Name {
		return "", "", ErrNoLeader
	}
	address, err = s.addressOf(name)
	return name, address, err
}

// Forward sends a batch to the leader. A failure before anything was sent is errNotLeader, which may be
// tried again; any other leaves the outcome unknown.
func (s *Server) Forward(ctx context.Context, encoded []byte) (*wire.WriteReply, error) {
	name, address, err := s.leader()
	if err != nil {
		return nil, errNotLeader
	}
	conn, err := s.pool.Conn(ctx, name, address)
	if err != nil {
		return nil, errNotLeader
	}
	reply := &wire.WriteReply{}
	if err := conn.Call(ctx, wire.MethodPropose, &wire.WriteRequest{Ops: encoded}, reply); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return reply, nil
}
