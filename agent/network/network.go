package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/hashicorp/go-hclog"
)

// errNoSetup is returned by Attach before Setup has succeeded.
var errNoSetup = errors.New("the node's pod network is not set up yet: it waits for the node's pod CIDR")

// Config says what the node is. NodeName, NodeIP, ClusterCIDR, ServiceCIDR and StateDir are required.
type Config struct {
	NodeName    string
	NodeIP      netip.Addr   // IPv4; where other nodes reach this one; loopback for a node that is alone
	ClusterCIDR netip.Prefix // IPv4; holds every node's pod CIDR
	ServiceCIDR netip.Prefix // IPv4
	StateDir    string       // made if it is missing
	Bridge      string       // "" is peapod0; at most 12 characters
	MTU         int          // of pods and bridge; 0 is that of the node's link
	VXLANPort   int          // 0 is 8472
	Logger      hclog.Logger // nil is silence
}

// Peer is another node of the cluster.
type Peer struct {
	Name    string
	NodeIP  netip.Addr
	PodCIDR netip.Prefix
}

// Network is the pod network of one node. It is safe for concurrent use.
type Network struct {
	cfg Config
}

// New takes up the network namespace of the caller; all later calls work in that one.
func New(cfg Config) (*Network, error) { return &Network{cfg: cfg}, nil }

// Setup makes the bridge for podCIDR.
func (n *Network) Setup(ctx context.Context, podCIDR netip.Prefix) error {
	return fmt.Errorf("setting up %s: %w", podCIDR, errors.ErrUnsupported)
}

// Attach gives the pod in the namespace at path netns its link and address.
func (n *Network) Attach(ctx context.Context, podUID, netns string) (netip.Addr, error) {
	return netip.Addr{}, errNoSetup
}

// Detach takes a pod's link and address away.
func (n *Network) Detach(ctx context.Context, podUID string) error { return nil }

// SetPeers names the other nodes.
func (n *Network) SetPeers(peers []Peer) {}

// Keep releases what belongs to pods that are not in uids.
func (n *Network) Keep(uids map[string]bool) {}

// Stop ends the background work and leaves the network in place.
func (n *Network) Stop() {}

// Close removes everything that was made.
func (n *Network) Close(ctx context.Context) error { return nil }
