package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// Keys of the cluster's own table.
const (
	metaCA      = "ca"         // JSON pki.Pair
	metaGossip  = "gossip-key" // 32 bytes
	metaNetwork = "network"    // JSON Network
	metaFencing = "fencing"    // JSON fence.Times.Lease, in nanoseconds
	metaServer  = "server/"    // + name: JSON member
	metaToken   = "token/"     // + id: JSON tokenRecord
	// metaTokenKeys is a JSON list of PEM, the first of which signs service account tokens.
	metaTokenKeys = "service-account-keys"
	// metaKeyring is the keyring.Ring under which the log and the snapshots are.
	metaKeyring = "keyring"
	// metaStorage is there once the cluster has been given its first storage class; whoever deletes that does not get it back.
	metaStorage = "storage"
	// metaIngress is the same for the first ingress class.
	metaIngress = "ingress"
	// metaFrontProxy is the authority of the servers' certificates for services that serve a part of the API, JSON pki.Pair.
	metaFrontProxy = "front-proxy-ca"
)

// Network is what is fixed for a cluster's life when it is made.
type Network struct {
	ClusterCIDR netip.Prefix // all pods
	ServiceCIDR netip.Prefix
	// ClusterCIDR6 and ServiceCIDR6 are there in clusters of two families; none of them is valid in others.
	ClusterCIDR6, ServiceCIDR6 netip.Prefix
	Domain                     string
}

// DefaultNetwork is used unless flags say otherwise.
func DefaultNetwork() Network {
	return Network{ClusterCIDR: netip.MustParsePrefix("10.42.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.43.0.0/16"), Domain: "cluster.local"}
}

// Check refuses networks that hold each other's addresses, and IPv6 networks that cannot be cut as they are needed. The others are checked where
// they are used.
func (n Network) Check() error {
	switch {
	case n.ClusterCIDR.Overlaps(n.ServiceCIDR):
		return fmt.Errorf("the networks of pods %s and of services %s overlap", n.ClusterCIDR, n.ServiceCIDR)
	case !n.ClusterCIDR6.IsValid():
		return nil
	case n.ClusterCIDR6.Bits() > 60:
		return fmt.Errorf("the IPv6 network of pods %s must have 60 bits or fewer: each node gets one of 64", n.ClusterCIDR6)
	case n.ServiceCIDR6.Bits() > 120 || n.ServiceCIDR6.Bits() < 64:
		return fmt.Errorf("the IPv6 network of services %s must have between 64 and 120 bits", n.ServiceCIDR6)
	case n.ClusterCIDR6.Overlaps(n.ServiceCIDR6):
		return fmt.Errorf("the IPv6 networks of pods %s and of services %s overlap", n.ClusterCIDR6, n.ServiceCIDR6)
	}
	return nil
}

// ServiceCIDRs are one of each family, as text.
func (n Network) ServiceCIDRs() []string {
	out := []string{n.ServiceCIDR.String()}
	if n.ServiceCIDR6.IsValid() {
		out = append(out, n.ServiceCIDR6.String())
	}
	return out
}

// KubernetesVIP is the first address of the service network: the API's.
func (n Network) KubernetesVIP() netip.Addr { return nth(n.ServiceCIDR, 1) }

// DNSVIP is the tenth address of the service network: the cluster's DNS.
func (n Network) DNSVIP() netip.Addr { return nth(n.ServiceCIDR, 10) }

// DNSVIP6 is that of the second family; not valid in clusters of one.
func (n Network) DNSVIP6() netip.Addr {
	if !n.ServiceCIDR6.IsValid() {
		return netip.Addr{}
	}
	return nth(n.ServiceCIDR6, 10)
}

func nth(p netip.Prefix, n int) netip.Addr {
	a := p.Masked().Addr()
	for range n {
		a = a.Next()
	}
	return a
}

// member is a server's addresses, host:port.
type member struct{ RPC, API string }

// settings reads the cluster's own table with its types.
type settings struct{ state *fsm.FSM }

// errNotReady means that the state has not yet come to this server.
var errNotReady = errors.New("this server does not have the cluster's state yet; try again in a moment")

func (m settings) ca() (*pki.CA, error) {
	b, ok := m.state.Meta(metaCA)
	if !ok {
		return nil, errNotReady
	}
	var pair pki.Pair
	if err := json.Unmarshal(b, &pair); err != nil {
		return nil, fmt.Errorf("reading the cluster's CA: %w", err)
	}
	return pki.LoadCA(pair)
}

func (m settings) network() (Network, error) {
	var n Network
	b, ok := m.state.Meta(metaNetwork)
	if !ok {
		return n, errNotReady
	}
	if err := json.Unmarshal(b, &n); err != nil {
		return n, fmt.Errorf("reading the cluster's network: %w", err)
	}
	return n, nil
}

func (m settings) member(name string) (member, bool) {
	b, ok := m.state.Meta(metaServer + name)
	if !ok {
		return member{}, false
	}
	var out member
	return out, json.Unmarshal(b, &out) == nil
}

// servers lists the members' rpc addresses by name.
func (m settings) servers() []wire.ServerAddress {
	var out []wire.ServerAddress
	for _, key := range m.state.MetaKeys(metaServer) {
		name := strings.TrimPrefix(key, metaServer)
		if s, ok := m.member(name); ok {
			out = append(out, wire.ServerAddress{Name: name, Address: s.RPC})
		}
	}
	return out
}

// apis lists the members' API addresses.
func (m settings) apis() []string {
	var out []string
	for _, s := range m.servers() {
		if x, ok := m.member(s.Name); ok && x.API != "" {
			out = append(out, x.API)
		}
	}
	return out
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("server: encoding %T: %v", v, err)) // our own types always encode
	}
	return b
}
