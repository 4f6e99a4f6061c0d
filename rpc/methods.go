package rpc

import (
	"context"
	"fmt"

	"github.com/peapod-sh/peapod/rpc/pki"
)

// Peer is who is at the other end.
type Peer = pki.Peer

// Caller is who calls a method: a verified peer and the connection on which one may call it back.
type Caller struct {
	Peer
	Conn *Conn
}

// Allow says which peers may call a method.
type Allow func(Peer) bool

// Anyone is every server and node of the cluster.
func Anyone(Peer) bool { return true }

// Servers may call, nodes may not.
func Servers(p Peer) bool { return p.Role == pki.RoleServer }

// Nodes may call, servers may not.
func Nodes(p Peer) bool { return p.Role == pki.RoleNode }

// Agents may call: nodes, and fleets of simulated ones.
func Agents(p Peer) bool { return p.Role == pki.RoleNode || p.Role == pki.RoleFleet }

// kind of a method: a call has one reply, a stream is a conversation.
type kind uint8

const (
	kindCall kind = iota + 1
	kindStream
)

type method struct {
	allow  Allow
	call   func(ctx context.Context, from Caller, request []byte) (any, error)
	stream func(ctx context.Context, from Caller, request []byte, s *Stream) error
}

// Methods is what one side of a connection can do for the other. Fill it before it is used; then it is immutable.
type Methods struct{ table map[string]method }

// NewMethods is an empty table.
func NewMethods() *Methods { return &Methods{table: map[string]method{}} }

// Register adds a method that answers a request with a reply. The handler's context ends with the caller's deadline and
// with the connection. Its error reaches the caller as *Error; use Errorf to choose the code.
func Register[Req, Resp any](m *Methods, name string, allow Allow, handler func(context.Context, Caller, *Req) (*Resp, error)) {
	m.add(name, method{allow: allow, call: func(ctx context.Context, from Caller, payload []byte) (any, error) {
		request := new(Req)
		if err := decode(payload, request); err != nil {
			return nil, Errorf(CodeInvalid, "%s: %v", name, err)
		}
		return handler(ctx, from, request)
	}})
}

// RegisterStream adds a method that converses. The stream is closed when the handler returns: with io.EOF for the
// opener if it returns nil, else with its error. The handler's context ends when the opener is gone, provided that the
// handler has received what the opener sent.
func RegisterStream[Req any](m *Methods, name string, allow Allow, handler func(context.Context, Caller, *Req, *Stream) error) {
	m.add(name, method{allow: allow, stream: func(ctx context.Context, from Caller, payload []byte, s *Stream) error {
		request := new(Req)
		if err := decode(payload, request); err != nil {
			return Errorf(CodeInvalid, "%s: %v", name, err)
		}
		return handler(ctx, from, request, s)
	}})
}

func (m *Methods) add(name string, added method) {
	if _, taken := m.table[name]; taken || name == "" || len(name) > MaxMethodLength {
		panic(fmt.Sprintf("rpc: the method name %q is taken, empty or too long", name))
	}
	m.table[name] = added
}

// find returns the method, or the sentence that the caller gets.
func (m *Methods) find(o opening, peer Peer) (method, error) {
	found, ok := method{}, false
	if m != nil {
		found, ok = m.table[o.Method]
	}
	switch {
	case !ok || (o.Kind == kindCall) != (found.call != nil):
		return method{}, Errorf(CodeNotFound, "there is no method %q here: the other side may be of another version", o.Method)
	case !found.allow(peer):
		return method{}, Errorf(CodeDenied, "%s may not call %s", peer, o.Method)
	}
	return found, nil
}
