package wire

// MethodRenew is called by any peer on a server: it signs a new key for the caller's own identity
// (request RenewRequest, reply RenewReply).
const MethodRenew = "server.Renew"

// JoinRequest asks to become part of the cluster. It travels before the sender has a certificate.
type JoinRequest struct {
	TokenID, TokenSecret string
	Role, Name           string // pki.Role: "server" or "node"
	Address              string // rpc address host:port that others shall dial; "" for a node
	Request              []byte // signing request, PEM
}

// JoinReply is the new member's identity and where to go. Error is set instead, with Code as rpc codes.
type JoinReply struct {
	Certificate []byte // PEM
	CA          []byte // PEM
	GossipKey   []byte // 32 bytes
	Servers     []ServerAddress
	Gossip      []string // host:port of members to gossip with first
	Code        uint8
	Error       string
	Root        []byte // the key that wraps the cluster's keyring, for a server unless it is to bring its own
	RootID      string // names it, for a server
}

// RenewRequest carries a signing request (PEM) for a new key.
type RenewRequest struct{ Request []byte }

// RenewReply is the new certificate and the CA (PEM).
type RenewReply struct{ Certificate, CA []byte }
