package cni

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent/network"
)

const (
	// podLink is the name of a pod's link inside the pod.
	podLink = "eth0"
	// pluginTimeout bounds one question to all plugins of a network, where the caller sets no earlier end.
	pluginTimeout = time.Minute
	// podLocks is the number of stripes that serialise work on one pod.
	podLocks = 64
)

// Config of a node's network. All but Logger are required.
type Config struct {
	Conf     string                       // a network configuration, or a directory of which the first by name is taken
	Plugins  []string                     // directories where plugins are looked for, in this order
	StateDir string                       // made if it is missing
	Pod      func(uid string) *corev1.Pod // nil if the node has none
	Logger   hclog.Logger                 // nil is silence
}

// Network is the pod network of one node. It is safe for concurrent use.
type Network struct {
	cfg          Config
	log          hclog.Logger
	list         *libcni.NetworkConfigList
	cni          *libcni.CNIConfig
	capabilities []string // that the plugins have
	locks        [podLocks]sync.Mutex

	mu    sync.Mutex
	cidrs []netip.Prefix  // of the node; none before Setup
	own   map[string]bool // pods that this process has attached: not Keep's affair
	told  bool            // that policies are not in force
}

// New reads the configuration and asks its plugins whether they can work with it. Nothing is changed.
func New(ctx context.Context, cfg Config) (*Network, error) {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	list, err := read(cfg.Conf)
	if err != nil {
		return nil, fmt.Errorf("the configuration of the pods' network: %w", err)
	}
	n := &Network{cfg: cfg, log: cfg.Logger, list: list, own: map[string]bool{},
		cni: libcni.NewCNIConfigWithCacheDir(cfg.Plugins, cfg.StateDir, nil)}
	if err := n.check(ctx); err != nil {
		return nil, fmt.Errorf("the plugins of network %q cannot be used: %w", list.Name, err)
	}
	n.log.Info("pods have their network by plugins", "network", list.Name, "plugins", plugins(list))
	return n, nil
}

// Has says whether a plugin of the network has the capability.
func (n *Network) Has(capability string) bool { return slices.Contains(n.capabilities, capability) }

// HostPorts says whether the plugins forward ports of the node to pods.
func (n *Network) HostPorts() bool { return n.Has(capPorts) }

// Setup takes the node's pod CIDRs.
func (n *Network) Setup(_ context.Context, cidrs ...netip.Prefix) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cidrs = slices.Clone(cidrs)
	return nil
}

var lockSeed = maphash.MakeSeed()

func (n *Network) lock(uid string) *sync.Mutex {
	l := &n.locks[maphash.String(lockSeed, uid)%podLocks]
	l.Lock()
	return l
}

// ready are the node's CIDRs, after Setup.
func (n *Network) ready() ([]netip.Prefix, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.cidrs) == 0 {
		return nil, network.ErrNoSetup
	}
	return n.cidrs, nil
}

// SetPeers does nothing: routes to other nodes are the plugins' affair.
func (n *Network) SetPeers([]network.Peer) {}

// SetFilter cannot hold pods apart on links that it does not know, and says so once.
func (n *Network) SetFilter(f *network.Filter) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if isolates := len(f.Egress)+len(f.Ingress) > 0; isolates && !n.told {
		n.told = true
		n.log.Warn("network policies select pods of this node, but its network is made by plugins: what passes services is filtered here, what goes from pod to pod directly only if a plugin does it",
			"network", n.list.Name)
	}
	return nil
}

// KeepSources cannot lead answers back on links that it does not know.
func (n *Network) KeepSources(on bool, _ []netip.Addr) error {
	if on {
		return fmt.Errorf("the pods' network %q is made by plugins, whose links the agent does not know", n.list.Name)
	}
	return nil
}

// KeepsSource is false, since KeepSources fails.
func (n *Network) KeepsSource(_, _ netip.Addr) bool { return false }

// Shape is done with the attachment, by a plugin that can.
func (n *Network) Shape(_ context.Context, uid, _ string, _, _ uint64) error {
	if !n.Has(capBandwidth) {
		n.log.Warn("a pod's bandwidth is not limited as it asks for: no plugin of the network has the capability bandwidth", "pod", uid, "network", n.list.Name)
	}
	return nil
}

// Stop leaves everything as it is, for the agent that comes next.
func (n *Network) Stop() {}

// Close removes all attachments, and what is kept of them.
func (n *Network) Close(ctx context.Context) error {
	all, err := n.cni.GetCachedAttachments("")
	faults := []error{err}
	for _, a := range all {
		faults = append(faults, n.remove(ctx, a))
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("removing the pods' network: %w", err)
	}
	return os.RemoveAll(filepath.Join(n.cfg.StateDir, "results"))
}
