package server

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// tokenRecord is what the cluster keeps of a join token.
type tokenRecord struct {
	Hash    []byte // of the secret
	Created time.Time
	Expires time.Time // zero is never
}

// TokenInfo describes a join token without its secret.
type TokenInfo struct {
	ID               string
	Created, Expires time.Time
}

// CreateToken makes a join token that is good for ttl (0 is for ever) and returns it once.
func (s *Server) CreateToken(ctx context.Context, ttl time.Duration) (string, error) {
	ca, err := s.meta.ca()
	if err != nil {
		return "", err
	}
	t := pki.NewToken(ca)
	record := tokenRecord{Hash: pki.HashSecret(t.Secret), Created: s.now().UTC()}
	if ttl > 0 {
		record.Expires = record.Created.Add(ttl)
	}
	if err := s.propose(ctx, &ops.PutMeta{Key: metaToken + t.ID, Value: mustJSON(record), IfAbsent: true}); err != nil {
		return "", fmt.Errorf("storing the token: %w", err)
	}
	return t.String(), nil
}

// RevokeToken makes a token useless; who has joined with it stays.
func (s *Server) RevokeToken(ctx context.Context, id string) error {
	if _, ok := s.state.Meta(metaToken + id); !ok {
		return fmt.Errorf("there is no join token %q", id)
	}
	return s.propose(ctx, &ops.PutMeta{Key: metaToken + id})
}

// Tokens lists the join tokens.
func (s *Server) Tokens() []TokenInfo {
	var out []TokenInfo
	for _, key := range s.state.MetaKeys(metaToken) {
		id := strings.TrimPrefix(key, metaToken)
		if r, ok := s.token(id); ok {
			out = append(out, TokenInfo{ID: id, Created: r.Created, Expires: r.Expires})
		}
	}
	return out
}

func (s *Server) token(id string) (tokenRecord, bool) {
	var r tokenRecord
	b, ok := s.state.Meta(metaToken + id)
	return r, ok && json.Unmarshal(b, &r) == nil
}

// Join lets a new agent in: it checks the token against the replicated state and signs its key.
func (s *Server) Join(ctx context.Context, q *rpc.JoinRequest) (*rpc.JoinReply, error) {
	ca, err := s.meta.ca()
	if err != nil {
		return nil, rpc.Errorf(rpc.CodeUnavailable, "%v", err)
	}
	record, ok := s.token(q.TokenID)
	if !ok { // it may be so new that this server has not applied it yet
		if err := s.store.Barrier(ctx); err != nil {
			return nil, rpc.Errorf(rpc.CodeUnavailable, "looking for the join token: %v", err)
		}
		record, ok = s.token(q.TokenID)
	}
	expired := !record.Expires.IsZero() && s.now().After(record.Expires)
	if !ok || expired || !pki.SecretMatches(record.Hash, q.TokenSecret) {
		return nil, rpc.ErrBadToken
	}
	peer := pki.Peer{Role: pki.Role(q.Role), Name: q.Name}
	cert, err := ca.SignPeer(q.Request, peer, s.now())
	if err != nil {
		return nil, rpc.Errorf(rpc.CodeInvalid, "%v", err)
	}
	s.log.Info("let a new member in", "member", peer.String(), "token", q.TokenID)
	reply := &rpc.JoinReply{Certificate: cert, CA: ca.CertPEM(), GossipKey: s.passport.GossipKey,
		Servers: s.meta.servers(), Gossip: s.gossipSeeds()}
	if peer.Role == pki.RoleServer {
		reply.Root, reply.RootID = s.vault.handOut()
	}
	return reply, nil
}

// renew signs a new key for whoever asks, for the name that its present certificate proves.
func (s *Server) renew(_ context.Context, from rpc.Caller, q *wire.RenewRequest) (*wire.RenewReply, error) {
	ca, err := s.meta.ca()
	if err != nil {
		return nil, rpc.Errorf(rpc.CodeUnavailable, "%v", err)
	}
	cert, err := ca.SignPeer(q.Request, from.Peer, s.now())
	if err != nil {
		return nil, rpc.Errorf(rpc.CodeInvalid, "%v", err)
	}
	return &wire.RenewReply{Certificate: cert, CA: ca.CertPEM()}, nil
}

// addServer makes the caller a voter, on the leader; elsewhere it is passed on.
func (s *Server) addServer(ctx context.Context, from rpc.Caller, q *wire.AddServerRequest) (*wire.Empty, error) {
	if !s.consensus.Leading() {
		name, address, err := s.leader()
		if err != nil {
			return nil, rpc.Errorf(rpc.CodeUnavailable, "%v", err)
		}
		return &wire.Empty{}, s.pool.Call(ctx, name, address, wire.MethodAddServer, q, &wire.Empty{})
	}
	if err := s.propose(ctx, &ops.PutMeta{Key: metaServer + q.Name, Value: mustJSON(member{RPC: q.Address, API: q.API})}); err != nil {
		return nil, err
	}
	if err := s.consensus.add(q.Name); err != nil {
		return nil, err
	}
	s.log.Info("server is a member", "server", q.Name, "address", q.Address, "told by", from.String())
	return &wire.Empty{}, nil
}
