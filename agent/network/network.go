package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
)

// ErrNoSetup is returned by Attach before Setup has succeeded.
var ErrNoSetup = errors.New("the node's pod network is not set up yet: it waits for the node's pod CIDR")

// Config says what the node is. NodeName, NodeIP, ClusterCIDR, ServiceCIDR and StateDir are required.
type Config struct {
	NodeName    string
	NodeIP      netip.Addr   // IPv4; where other nodes reach this one; loopback for a node that is alone
	ClusterCIDR netip.Prefix // IPv4; holds every node's pod CIDR
	ServiceCIDR netip.Prefix // IPv4
	// ClusterCIDR6 and ServiceCIDR6 are IPv6, in clusters that have both families.
	ClusterCIDR6, ServiceCIDR6 netip.Prefix
	StateDir                   string       // made if it is missing
	Bridge                     string       // "" is peapod0; at most 12 characters
	MTU                        int          // of pods and bridge; 0 is that of the node's link
	VXLANPort                  int          // 0 is 8472
	Logger                     hclog.Logger // nil is silence
}

// Peer is another node of the cluster. A peer without a PodCIDR yet is passed over.
type Peer struct {
	Name    string
	NodeIP  netip.Addr
	PodCIDR netip.Prefix
	// PodCIDR6 is the node's second network, if it has one.
	PodCIDR6 netip.Prefix
}

// Network is the pod network of one node. It is safe for concurrent use.
type Network struct {
	cfg  Config
	log  hclog.Logger
	home *home
	pool *pool

	ground atomic.Pointer[ground] // nil before Setup and after Close
	locks  [podLocks]sync.Mutex   // by pod UID: one piece of work on a pod at a time
	peers  peers
	drops  drops
	filter filter

	sources struct {
		mu   sync.Mutex
		last *kept // nil before the first call: what is in force is an earlier agent's
	}

	mu     sync.Mutex // serialises Setup, Stop and Close
	closed bool
}

// ground is what Setup made.
type ground struct {
	cidr   netip.Prefix
	cidr6  netip.Prefix // not valid in clusters of one family
	bridge int          // link index
	mtu    int          // of pods
	tunnel int          // MTU of the VXLAN device
}

// New takes up the network namespace of the caller, in which all later calls work, and reads the
// addresses that pods have. It changes nothing outside StateDir.
func New(cfg Config) (*Network, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("making the network's state directory: %w", err)
	}
	pool, damaged, err := openPool(filepath.Join(cfg.StateDir, "addresses"))
	if err != nil {
		return nil, err
	}
	if damaged > 0 {
		cfg.Logger.Warn("the pod address log had damaged lines, which were dropped", "lines", damaged)
	}
	home, err := openHome()
	if err != nil {
		pool.close()
		return nil, err
	}
	n := &Network{cfg: cfg, log: cfg.Logger, home: home, pool: pool, drops: drops{home: home}}
	n.peers.wake = make(chan struct{}, 1) // one waiting call is enough: it reads the newest list
	return n, nil
}

// complete fills in defaults and refuses what cannot work.
func (c Config) complete() (Config, error) {
	if c.Bridge == "" {
		c.Bridge = defaultBridge
	}
	if c.VXLANPort == 0 {
		c.VXLANPort = defaultVXLANPort
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	c.NodeIP = c.NodeIP.Unmap()
	switch {
	case c.NodeName == "":
		return c, errors.New("pod network: the node has no name")
	case !c.NodeIP.Is4() || c.NodeIP.IsUnspecified():
		return c, fmt.Errorf("pod network: the node's address %s is not a usable IPv4 address", c.NodeIP)
	case !c.ClusterCIDR.Addr().Is4() || !c.ServiceCIDR.Addr().Is4():
		return c, fmt.Errorf("pod network: the cluster CIDR %s and the service CIDR %s must be IPv4", c.ClusterCIDR, c.ServiceCIDR)
	case c.ClusterCIDR.Overlaps(c.ServiceCIDR):
		return c, fmt.Errorf("pod network: the cluster CIDR %s and the service CIDR %s overlap: choose others", c.ClusterCIDR, c.ServiceCIDR)
	case len(c.Bridge) > bridgeNameMax:
		return c, fmt.Errorf("pod network: the bridge name %q is longer than %d characters", c.Bridge, bridgeNameMax)
	case c.StateDir == "":
		return c, errors.New("pod network: no state directory")
	case c.MTU < 0 || c.MTU > 65535 || c.VXLANPort < 1 || c.VXLANPort > 65535:
		return c, fmt.Errorf("pod network: MTU %d or VXLAN port %d is out of range", c.MTU, c.VXLANPort)
	}
	return c, nil
}

// Setup makes the node's part of the network, or adopts and completes what an earlier agent left. The CIDRs are one of IPv4 and, in clusters
// of both families, one of IPv6.
// Called again, also with another CIDR, it brings everything to that state.
func (n *Network) Setup(ctx context.Context, podCIDRs ...netip.Prefix) error {
	podCIDR, podCIDR6 := podCIDRs[0], netip.Prefix{}
	if len(podCIDRs) > 1 {
		podCIDR6 = podCIDRs[1]
		if err := n.checkCIDR6(podCIDR6); err != nil {
			return err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errors.New("setting up the pod network: it was closed")
	}
	if err := n.checkCIDR(podCIDR); err != nil {
		return err
	}
	g, err := n.build(ctx, podCIDR, podCIDR6)
	if err != nil {
		return fmt.Errorf("setting up the pod network of %s: %w", podCIDR, err)
	}
	n.ground.Store(g)
	n.startPeers()
	return nil
}

func (n *Network) checkCIDR(c netip.Prefix) error {
	switch {
	case !c.IsValid() || !c.Addr().Is4() || c != c.Masked():
		return fmt.Errorf("the pod CIDR %s is not an IPv4 network", c)
	case c.Bits() < podCIDRBitsMin || c.Bits() > podCIDRBitsMax:
		return fmt.Errorf("the pod CIDR %s must have between %d and %d bits", c, podCIDRBitsMin, podCIDRBitsMax)
	case c.Bits() < n.cfg.ClusterCIDR.Bits() || !n.cfg.ClusterCIDR.Contains(c.Addr()):
		return fmt.Errorf("the pod CIDR %s lies outside the cluster CIDR %s", c, n.cfg.ClusterCIDR)
	}
	return nil
}

func (n *Network) build(ctx context.Context, podCIDR, podCIDR6 netip.Prefix) (*ground, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	link, err := n.nodeMTU()
	if err != nil {
		return nil, err
	}
	g := &ground{cidr: podCIDR, cidr6: podCIDR6, mtu: n.cfg.MTU, tunnel: link - vxlanOverheadBytes}
	if g.mtu == 0 {
		g.mtu = link
	}
	if err := n.home.run(n.setSysctls); err != nil {
		return nil, err
	}
	br, err := n.ensureBridge(podCIDR, g.mtu)
	if err != nil {
		return nil, err
	}
	g.bridge = br.Attrs().Index
	if err := n.ensureMasquerade(podCIDR); err != nil {
		return nil, err
	}
	if podCIDR6.IsValid() {
		if err := n.build6(g, br); err != nil {
			return nil, err
		}
	}
	n.pool.use(podCIDR)
	return g, n.adoptPorts()
}

// adoptPorts protects the addresses of living pods that the log does not know, should it be lost.
func (n *Network) adoptPorts() error {
	ports, err := n.ports()
	if err != nil {
		return err
	}
	for name, l := range ports {
		if addr, ok := hostMACAddr(l.Attrs().HardwareAddr); ok {
			if err := n.pool.adopt(name, addr); err != nil {
				return err
			}
		}
	}
	return nil
}

// HostPorts says that ports of the node are not forwarded to pods here.
func (n *Network) HostPorts() bool { return false }

// Stop ends the background work and leaves the network as it is, for the agent that comes next. No
// other method may be called after it.
func (n *Network) Stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	n.closed = true
	n.stopPeers()
	n.ground.Store(nil)
	n.pool.close()
	n.home.close()
}

// Close removes everything that this node's agents ever made here: pods' links, bridge, VXLAN device,
// routes, rules, sysctl changes and the state directory's files. It needs no Setup before it, and does
// as much as it can before it returns the errors. It ends as Stop does.
func (n *Network) Close(ctx context.Context) error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.stopPeers()
	n.ground.Store(nil)
	err := n.remove(ctx)
	n.mu.Unlock()
	n.Stop()
	if err != nil {
		return fmt.Errorf("removing the pod network: %w", err)
	}
	return nil
}

func (n *Network) remove(ctx context.Context) error {
	var errs []error
	ports, err := n.ports()
	errs = append(errs, err)
	for _, l := range ports {
		if err := ctx.Err(); err != nil {
			return err
		}
		errs = append(errs, n.drops.remove(l))
	}
	errs = append(errs, n.removePeers(), n.removeMasquerade(), n.removeFilter(), n.removeSources(), n.remove6())
	if br, err := n.home.LinkByName(n.cfg.Bridge); err == nil && n.checkOwner(br) == nil {
		errs = append(errs, n.drops.remove(br))
	}
	errs = append(errs, n.home.run(func() error { return n.restoreSysctls(n.othersForward()) }))
	if errors.Join(errs...) == nil {
		for _, f := range []string{n.pool.path, n.pool.path + ".new", n.sysctlFile(), n.sysctlFile() + ".new"} {
			if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// othersForward tells whether there are bridges that are not ours.
func (n *Network) othersForward() bool {
	links, err := n.home.LinkList()
	if err != nil {
		return true
	}
	for _, l := range links {
		if l.Type() == "bridge" && l.Attrs().Name != n.cfg.Bridge {
			return true
		}
	}
	return false
}
