package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Role of a peer: what its certificate allows it to be.
type Role string

// Roles. A process that is server and node has two identities. A fleet speaks for simulated nodes, whose names are its own and a
// number: those of fleet "sim" are sim-1, sim-2 and so on.
const (
	RoleServer Role = "server"
	RoleNode   Role = "node"
	RoleFleet  Role = "fleet"
)

// ErrNotPeer says that a certificate of this cluster belongs to nobody who may speak rpc.
var ErrNotPeer = errors.New("the certificate names no server and no node of the cluster")

// Peer is who is at the other end: a role and a name. As an expectation, an empty Name is anybody of that role.
type Peer struct {
	Role Role
	Name string
}

// String is "server/a".
func (p Peer) String() string { return string(p.Role) + "/" + p.Name }

// Matches says whether got is whom p expects.
func (p Peer) Matches(got Peer) bool {
	return p.Role == got.Role && (p.Name == "" || p.Name == got.Name)
}

var nameForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

// Validate checks role and name: a name is lower case letters, digits, '-' and '.', as Kubernetes' node names are.
func (p Peer) Validate() error {
	if p.Role != RoleServer && p.Role != RoleNode && p.Role != RoleFleet {
		return fmt.Errorf("role %q is none of %q, %q and %q", p.Role, RoleServer, RoleNode, RoleFleet)
	}
	if len(p.Name) > MaxNameLength || !nameForm.MatchString(p.Name) {
		return fmt.Errorf("name %q is not made of lower case letters, digits, '-' and '.', up to %d of them", p.Name, MaxNameLength)
	}
	return nil
}

// uriScheme marks the names of agents in certificates.
const uriScheme = "peapod"

// uri is the name that rpc trusts.
func (p Peer) uri() *url.URL {
	return &url.URL{Scheme: uriScheme, Host: string(p.Role), Path: "/" + p.Name}
}

// subject is what the Kubernetes API sees of the same certificate: a user and its group.
func (p Peer) subject() (user, group string) {
	if p.Role == RoleNode {
		return "system:node:" + p.Name, "system:nodes"
	}
	return "peapod:" + string(p.Role) + ":" + p.Name, "peapod:" + string(p.Role) + "s"
}

// PeerOf reads the peer's name from a certificate that has already been verified. ErrNotPeer if it has
// none or more than one.
func PeerOf(cert *x509.Certificate) (Peer, error) {
	var found []Peer
	for _, u := range cert.URIs {
		if u.Scheme == uriScheme {
			found = append(found, Peer{Role: Role(u.Host), Name: strings.TrimPrefix(u.Path, "/")})
		}
	}
	if len(found) != 1 || found[0].Validate() != nil {
		return Peer{}, ErrNotPeer
	}
	return found[0], nil
}
