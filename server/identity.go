package server

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// Passport is what an agent of either role keeps on disk of its membership.
type Passport struct {
	Cert, Key, CA string // PEM
	GossipKey     []byte // 32 bytes
	Servers       []wire.ServerAddress
	Gossip        []string  // host:port of members to gossip with first
	Genesis       *pki.Pair `json:",omitempty"` // the CA, on the cluster's first server until the log has it
	// Root is the cluster's root key, until it has a file of its own; RootID names it. Both are empty on nodes.
	Root   []byte `json:",omitempty"`
	RootID string `json:",omitempty"`
}

const passportFile = "identity.json"

// LoadPassport reads the membership in dir; nil if there is none yet.
func LoadPassport(dir string) (*Passport, error) {
	b, err := os.ReadFile(filepath.Join(dir, passportFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the identity: %w", err)
	}
	p := &Passport{}
	if err := json.Unmarshal(b, p); err != nil {
		return nil, fmt.Errorf("reading the identity in %s: %w (to join anew, move the directory away)", dir, err)
	}
	return p, nil
}

// Save writes the membership; a reader sees the old or the new file whole.
func (p *Passport) Save(dir string) error {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, passportFile+".new")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("writing the identity: %w", err)
	}
	return os.Rename(tmp, filepath.Join(dir, passportFile))
}

// Identity makes the identity that the passport holds.
func (p *Passport) Identity() (*pki.Identity, error) {
	return pki.NewIdentity(pki.Material{Pair: pki.Pair{Cert: []byte(p.Cert), Key: []byte(p.Key)}, CA: []byte(p.CA)})
}

// SetMaterial takes a new certificate in.
func (p *Passport) SetMaterial(m pki.Material) {
	p.Cert, p.Key, p.CA = string(m.Cert), string(m.Key), string(m.CA)
}

// JoinCluster gets a passport from a running cluster. advertise is a server's rpc address, "" for a node.
func JoinCluster(ctx context.Context, addresses []string, token string, self pki.Peer, advertise string) (*Passport, error) {
	t, err := pki.ParseToken(token)
	if err != nil {
		return nil, err
	}
	joined, err := rpc.Join(ctx, addresses, t, self, advertise)
	if err != nil {
		return nil, err
	}
	p := &Passport{GossipKey: joined.GossipKey, Servers: joined.Servers, Gossip: joined.Gossip, Root: joined.Root, RootID: joined.RootID}
	p.SetMaterial(joined.Material)
	return p, nil
}

// newCluster makes the CA, the gossip key and the first server's own identity.
func newCluster(name string, now time.Time) (*Passport, error) {
	ca, err := pki.NewCA("peapod", now)
	if err != nil {
		return nil, err
	}
	own, err := ca.IssuePeer(pki.Peer{Role: pki.RoleServer, Name: name}, now)
	if err != nil {
		return nil, err
	}
	secret, err := ca.Pair()
	if err != nil {
		return nil, err
	}
	p := &Passport{GossipKey: make([]byte, gossipKeyBytes), Genesis: &secret}
	_, _ = rand.Read(p.GossipKey) // it never fails
	p.SetMaterial(pki.Material{Pair: own, CA: ca.CertPEM()})
	return p, nil
}

const gossipKeyBytes = 32
