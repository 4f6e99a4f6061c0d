package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// JoinRequest and JoinReply are the messages of joining.
type (
	JoinRequest = wire.JoinRequest
	JoinReply   = wire.JoinReply
)

// Joined is what a new member keeps on disk, and where it goes next.
type Joined struct {
	Material  pki.Material
	GossipKey []byte // 32 bytes
	Servers   []wire.ServerAddress
	Gossip    []string // host:port
	Root      []byte   // the key that wraps the cluster's keyring; nil for nodes, and if the cluster does not hand it out
	RootID    string   // names it; "" for nodes
}

// ErrBadToken is the sentence for a token that the cluster does not know; Joiners return it.
var ErrBadToken = Errorf(CodeDenied, "the cluster does not accept this join token: it may have been revoked or have expired; make a new one with `peapod token create` on a server")

// Join asks the servers at addresses (host:port), one after the other, for an identity. The key is made here and stays here.
// advertise is the rpc address at which others shall dial this agent, "" for nodes, which are never dialled.
func Join(ctx context.Context, addresses []string, token pki.Token, self Peer, advertise string) (*Joined, error) {
	request, key, err := pki.NewRequest(self)
	if err != nil {
		return nil, fmt.Errorf("joining: %w", err)
	}
	message := &JoinRequest{TokenID: token.ID, TokenSecret: token.Secret, Role: string(self.Role), Name: self.Name,
		Address: advertise, Request: request}
	var failures []error
	for _, address := range addresses {
		reply, err := joinAt(ctx, address, token.CAHash, message)
		if err == nil {
			return &Joined{Material: pki.Material{Pair: pki.Pair{Cert: reply.Certificate, Key: key}, CA: reply.CA},
				GossipKey: reply.GossipKey, Servers: reply.Servers, Gossip: reply.Gossip, Root: reply.Root, RootID: reply.RootID}, nil
		}
		failures = append(failures, fmt.Errorf("joining through %s: %w", address, err))
		if code := CodeOf(err); code == CodeDenied || code == CodeInvalid || errors.Is(err, pki.ErrPin) || ctx.Err() != nil {
			break // the next server would say the same
		}
	}
	if len(failures) == 0 {
		return nil, errors.New("joining: no server's address was given")
	}
	return nil, errors.Join(failures...)
}

func joinAt(ctx context.Context, address, caHash string, request *JoinRequest) (*JoinReply, error) {
	conn, err := dialTLS(ctx, address, pki.PinnedConfig(caHash, protocolJoin))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(joinTimeout))
	if err := writeFrame(conn, frameData, maxJoinBytes, request); err != nil {
		return nil, lost(err)
	}
	_, payload, err := readFrame(conn, maxJoinBytes)
	if err != nil {
		return nil, lost(err)
	}
	var reply JoinReply
	if err := decode(payload, &reply); err != nil {
		return nil, err
	}
	if reply.Error != "" {
		return nil, &Error{Code: Code(reply.Code), Message: reply.Error}
	}
	return &reply, nil
}

// serveJoin answers one request. What comes here is not yet trusted in anything.
func (s *Server) serveJoin(ctx context.Context, conn *tls.Conn) {
	_ = conn.SetDeadline(time.Now().Add(joinTimeout))
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	select {
	case s.joining <- struct{}{}:
		defer func() { <-s.joining }()
	case <-ctx.Done():
		return
	}
	var reply *JoinReply
	err := guard(s.Logger, "join", conn.RemoteAddr(), func() (err error) {
		reply, err = s.join(ctx, conn)
		return err
	})
	if err != nil {
		s.Logger.Warn("refused to let somebody join", "from", conn.RemoteAddr().String(), "error", err)
		told := toWire(err)
		reply = &JoinReply{Code: uint8(told.Code), Error: told.Message}
	}
	if err := writeFrame(conn, frameData, maxJoinBytes, reply); err != nil {
		s.Logger.Debug("the answer to a join did not arrive", "from", conn.RemoteAddr().String(), "error", err)
		return
	}
	_ = conn.CloseWrite()
}

func (s *Server) join(ctx context.Context, conn *tls.Conn) (*JoinReply, error) {
	_, payload, err := readFrame(conn, maxJoinBytes)
	if err != nil {
		return nil, Errorf(CodeInvalid, "reading the join request: %v", err)
	}
	var request JoinRequest
	if err := decode(payload, &request); err != nil {
		return nil, Errorf(CodeInvalid, "reading the join request: %v", err)
	}
	peer := Peer{Role: pki.Role(request.Role), Name: request.Name}
	if err := peer.Validate(); err != nil {
		return nil, Errorf(CodeInvalid, "%s", strings.TrimSpace(err.Error()))
	}
	return s.Joiner.Join(ctx, &request)
}
