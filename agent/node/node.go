package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/agent"
	"github.com/peapod-sh/peapod/agent/image"
	"github.com/peapod-sh/peapod/agent/ingress"
	"github.com/peapod-sh/peapod/agent/link"
	"github.com/peapod-sh/peapod/agent/network"
	"github.com/peapod-sh/peapod/agent/pressure"
	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/runtime/cri"
	"github.com/peapod-sh/peapod/agent/runtime/oci"
	"github.com/peapod-sh/peapod/agent/services"
	"github.com/peapod-sh/peapod/agent/share"
	"github.com/peapod-sh/peapod/agent/supervisor"
	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/netproxy"
	"github.com/peapod-sh/peapod/netproxy/dns"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// Config of a node.
type Config struct {
	Name          string
	Address       netip.Addr // IPv4
	Address6      netip.Addr // the node's second, in clusters of both families; not valid: one of the link with Address, if there is one
	DataDir       string     // absolute
	SupervisorDir string     // of the supervisor that started this process
	CgroupParent  string
	CNIConf       string   // the configuration of plugins that make the pods' network, or a directory with it; "" is the built-in network
	CNIPlugins    []string // directories of such plugins
	CRISocket     string   // of the container runtime that runs pods and keeps images; "" is the embedded one
	Identity      *pki.Identity
	Servers       []wire.ServerAddress
	Remember      func([]wire.ServerAddress)
	Mirrors       map[string][]image.Mirror
	Images        ImagesConfig
	Eviction      []pressure.Threshold // below which pods are ended
	PeerPort      int                  // TCP, where other nodes get layers of images from this one; 0 does not give nor ask
	// IngressHTTPPort and IngressHTTPSPort are where this node serves ingresses; 0 does not.
	IngressHTTPPort, IngressHTTPSPort int
	Version                           string
	Labels                            map[string]string // of the Node object, beside the usual ones
	Metrics                           http.Handler      // served at /metrics of the admin socket; may be nil
	Logger                            hclog.Logger
	// Renewed, if not nil, is given each new certificate, to be kept for the next start.
	Renewed func(pki.Material)
	// Leave removes every pod and all that this process made on the machine when Run ends: for a node
	// that will not come back.
	Leave bool
	// PodPidsMax bounds the processes of a pod, 0 does not; UnsafeSysctls are names, or prefixes ending in *, that pods
	// may set beside the safe ones.
	PodPidsMax    int64
	UnsafeSysctls []string
	// DNSUpstreams answer what is not the cluster's, instead of the resolvers in the machine's /etc/resolv.conf if not nil;
	// DNSStubs answer for domains of their own.
	DNSUpstreams []netip.AddrPort
	DNSStubs     dns.Stubs
	// Up, if not nil, is called once when the node is Ready.
	Up func()
}

// Node is one node's parts.
type node struct {
	cfg Config
	log hclog.Logger
	// addresses are the node's, one of each family that the cluster has and the node, too.
	addresses []netip.Addr
	link      *link.Link
	visor     *supervisor.Client
	executor  executor
	cri       *cri.Executor // the executor, if it is a container runtime of its own
	images    *image.Store  // nil if the container runtime keeps the images
	pulls     imageKeeper
	share     *share.Share // nil without PeerPort
	sharing   net.Listener // nil without share
	members   *members     // nil without share
	network   podNetwork
	agent     *agent.Agent
	model     *services.Model
	peers     *peers
	policies  *policies
	proxy     *netproxy.Proxy
	dns       *dns.Server
	announce  *network.Announcer
	health    *healthPorts
	moved     chan struct{}  // capacity 1: pods have other addresses
	ingress   *ingress.Proxy // nil without ports for it
	handler   http.Handler   // of the servers' calls; read it after serving is closed
	serving   chan struct{}  // closed once handler is there
	dirty     chan struct{}  // capacity 1: the proxy's table is old

	keeping    *keeping
	registered *wire.Registered // of the cluster, since this process began
}

// Run is a node's life.
func Run(ctx context.Context, cfg Config) error {
	n := &node{cfg: cfg, log: cfg.Logger, addresses: []netip.Addr{cfg.Address}, dirty: make(chan struct{}, 1), moved: make(chan struct{}, 1), serving: make(chan struct{})}
	n.link = link.New(link.Config{Identity: cfg.Identity, Seeds: cfg.Servers, Remember: cfg.Remember,
		Handler: http.HandlerFunc(n.serveHTTP), Logger: cfg.Logger.Named("link")})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.link.Run(ctx) })
	g.Go(func() error { return n.run(ctx) })
	err := g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// handlerWait is how long a server's call waits for a node that is starting.
const handlerWait = 3 * time.Second

// serveHTTP answers the servers' calls. The connection is there before the agent is, since the node registers
// over it, and the agent is there before it knows its pods; whoever calls in between waits.
func (n *node) serveHTTP(w http.ResponseWriter, r *http.Request) {
	patience, cancel := context.WithTimeout(r.Context(), handlerWait)
	defer cancel()
	select {
	case <-n.serving:
	case <-patience.Done():
		http.Error(w, "the node is starting", http.StatusServiceUnavailable)
		return
	}
	select {
	case <-n.agent.Knowing():
	case <-patience.Done(): // it may know the pod in question all the same
	}
	n.handler.ServeHTTP(w, r)
}

func (n *node) run(ctx context.Context) error {
	if err := n.openLocal(ctx); err != nil {
		return err
	}
	defer n.pulls.Close()
	defer n.executor.Close()
	n.keeping = newKeeping(n.cfg.DataDir, n.log)
	registered, old, err := n.membership(ctx)
	if err != nil {
		return err
	}
	n.registered = registered
	if err := n.openCluster(ctx, registered); err != nil {
		return err
	}
	n.recall(old)
	defer n.proxy.Close()
	defer n.network.Stop()
	n.peers = newPeers(n.cfg.Name, func(list []network.Peer) {
		n.network.SetPeers(list)
		n.policies.trust(list)
	})
	err = n.serve(ctx)
	if n.cfg.Leave {
		err = errors.Join(err, n.leave())
	}
	return err
}

// openLocal opens what needs no cluster.
func (n *node) openLocal(ctx context.Context) error {
	var err error
	if n.visor, err = supervisor.Dial(n.cfg.SupervisorDir); err != nil {
		return fmt.Errorf("reaching the supervisor: %w", err)
	}
	if n.cfg.CRISocket != "" {
		return n.openCRI(ctx)
	}
	if n.executor, err = oci.New(oci.Config{StateDir: filepath.Join(n.cfg.DataDir, "runtime"), CgroupParent: n.cfg.CgroupParent,
		SupervisorDir: n.cfg.SupervisorDir, Logger: n.log.Named("runtime")}); err != nil {
		return err
	}
	if err := n.openShare(ctx); err != nil {
		return err
	}
	opts := image.Options{Logger: n.log.Named("image"), Mirrors: n.cfg.Mirrors, Embedded: image.Demo()}
	if n.share != nil {
		opts.Peers = n.share
	}
	if n.images, err = image.Open(filepath.Join(n.cfg.DataDir, "images"), opts); err != nil {
		return err
	}
	if _, err := n.images.EnsureEmbedded(ctx); err != nil {
		return fmt.Errorf("unpacking the embedded image: %w", err)
	}
	n.pulls = newImages(n.images, n.cfg.Images, n.log.Named("image"), n.usedImages)
	return nil
}

// openCluster makes the parts that must know the cluster's networks.
func (n *node) openCluster(ctx context.Context, r *wire.Registered) error {
	serviceCIDR, err := netip.ParsePrefix(r.ServiceCIDR)
	if err != nil {
		return fmt.Errorf("the cluster's service CIDR: %w", err)
	}
	clusterCIDR, err := netip.ParsePrefix(r.ClusterCIDR)
	if err != nil {
		return fmt.Errorf("the cluster's pod CIDR: %w", err)
	}
	serviceCIDR6, clusterCIDR6, err := secondFamily(r)
	if err != nil {
		return err
	}
	resolvers, err := n.resolvers(r)
	if err != nil {
		return err
	}
	n.findSecond(serviceCIDR6)
	if err := n.openNetwork(ctx, network.Config{NodeName: n.cfg.Name, NodeIP: n.cfg.Address, ClusterCIDR: clusterCIDR,
		ServiceCIDR: serviceCIDR, ClusterCIDR6: clusterCIDR6, ServiceCIDR6: serviceCIDR6, StateDir: filepath.Join(n.cfg.DataDir, "network"), Logger: n.log.Named("network")}); err != nil {
		return err
	}
	if n.proxy, err = netproxy.New(netproxy.Config{Logger: n.log.Named("proxy"), ServiceCIDR: serviceCIDR, ServiceCIDR6: serviceCIDR6, SourceAddress: n.cfg.Address,
		Reserved: resolvers[:]}); err != nil {
		return err
	}
	if n.dns, err = dns.New(dns.Config{Addr: resolvers[0], Second: resolvers[1], Domain: r.ClusterDomain,
		Upstreams: n.cfg.DNSUpstreams, Stubs: n.cfg.DNSStubs, Logger: n.log.Named("dns")}); err != nil {
		return err
	}
	if n.announce, err = network.NewAnnouncer(n.cfg.Address, n.log.Named("announce")); err != nil {
		return err
	}
	n.health = newHealthPorts(n.log.Named("health"))
	n.policies = newPolicies(n.addresses, n.network, n.log.Named("policy"))
	n.openIngress()
	n.model = services.New(n.cfg.Name, r.ClusterDomain, n.addresses)
	n.agent = agent.New(agent.Config{
		NodeName: n.cfg.Name, NodeIPs: n.addresses, DataDir: n.cfg.DataDir,
		Eviction: n.cfg.Eviction, ImagesDir: n.pulls.Dir(), Executor: n.executor, Images: n.pulls, Network: n.policies, ControlPlane: n.link,
		DNS: nameservers(resolvers), ClusterDomain: r.ClusterDomain, Services: n.model.OfNamespace,
		PodPidsMax: n.cfg.PodPidsMax, UnsafeSysctls: n.cfg.UnsafeSysctls, RecursiveReadOnly: n.recursesReadOnly(), Handlers: n.handlers(),
		PodChanged: n.podChanged, Withdrawn: n.withdrawn, Version: n.cfg.Version, Runtime: n.runtimeVersion(), Logger: n.log,
	})
	n.handler = n.newHandler()
	close(n.serving)
	return nil
}

// register announces the node; it is Ready only when pods can have addresses.
func (n *node) register(ctx context.Context, ready bool) (*wire.Registered, error) {
	object := n.announced()
	if !ready {
		for i := range object.Status.Conditions {
			if c := &object.Status.Conditions[i]; c.Type == corev1.NodeReady {
				c.Status, c.Reason, c.Message = corev1.ConditionFalse, "KubeletNotReady", "the pod network is being set up"
			}
		}
	}
	encoded, err := object.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encoding the Node object: %w", err)
	}
	for {
		r, err := n.link.Register(ctx, encoded)
		if err == nil || ctx.Err() != nil {
			return r, err
		}
		n.log.Warn("cannot register yet; will try again", "error", err)
		select {
		case <-time.After(registerPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// announced is the node's object with all that this process knows of it.
func (n *node) announced() *corev1.Node {
	object := n.object()
	maps.Copy(object.Labels, n.cfg.Labels)
	if n.sharing != nil {
		metav1.SetMetaDataAnnotation(&object.ObjectMeta, layersAnnotation, n.sharing.Addr().String())
	}
	if _, ok := n.executor.(runtime.Guard); ok {
		metav1.SetMetaDataAnnotation(&object.ObjectMeta, api.NodeFencesAnnotation, "true")
	}
	n.announceIngress(object)
	object.Status.Images = imageList(n.pulls.List())
	return object
}

func (n *node) object() *corev1.Node {
	if n.agent != nil {
		return n.agent.NodeObject()
	}
	return agent.New(agent.Config{NodeName: n.cfg.Name, NodeIPs: n.addresses, DataDir: n.cfg.DataDir,
		RecursiveReadOnly: n.recursesReadOnly(), Handlers: n.handlers(), Version: n.cfg.Version, Runtime: n.runtimeVersion(), Logger: n.log}).NodeObject()
}

const registerPause = 200 * time.Millisecond

// serve runs the parts until ctx ends.
func (n *node) serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.proxy.Run(ctx) })
	g.Go(func() error { return n.dns.Run(ctx) })
	g.Go(func() error { return n.swapTables(ctx) })
	g.Go(func() error { return n.keeping.run(ctx) })
	g.Go(func() error { return n.announce.Run(ctx) })
	g.Go(func() error { return n.policies.run(ctx) })
	if n.ingress != nil {
		g.Go(func() error { return n.ingress.Run(ctx) })
	}
	g.Go(func() error { return n.serveAdmin(ctx) })
	g.Go(func() error { return n.runShare(ctx) })
	g.Go(func() error { return n.link.Watch(ctx, watchedAlways, n.watchedIfServed(), &sink{node: n}) })
	g.Go(func() error { return n.agentAfterNetwork(ctx) })
	g.Go(func() error { return n.cfg.Identity.Run(ctx, n.link.Renew, n.renewed) })
	return g.Wait()
}

// agentAfterNetwork sets the pod network up as soon as the leader has given this node its CIDR, says
// that the node is ready, and runs the agent.
func (n *node) agentAfterNetwork(ctx context.Context) error {
	cidrs, err := n.peers.ownCIDRs(ctx)
	if err != nil {
		return err
	}
	if err := n.network.Setup(ctx, cidrs...); err != nil {
		return fmt.Errorf("setting up the pod network: %w", err)
	}
	n.policies.setUp(cidrs)
	n.markDirty() // what a table needs of the network can be had now
	n.peers.ready()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.agent.Run(ctx) })
	g.Go(func() error { n.agent.Usage().Run(ctx); return nil })
	g.Go(func() error { return n.pulls.collect(ctx, n.agent.Knowing()) })
	g.Go(func() error { return n.keepNetwork(ctx) })
	g.Go(func() error {
		if _, err := n.register(ctx, true); err != nil {
			return err
		}
		n.log.Info("the node is ready", "pods", fmt.Sprint(cidrs))
		if err := n.visor.Ready(); err != nil {
			n.log.Warn("cannot tell the supervisor that the agent serves", "error", err)
		}
		if n.cfg.Up != nil {
			n.cfg.Up()
		}
		g.Go(func() error { return n.reportPressure(ctx) })
		return n.reportImages(ctx)
	})
	return g.Wait()
}

// swapTables hands new tables to the proxy and DNS. Changes that come together share one table.
func (n *node) swapTables(ctx context.Context) error {
	defer n.health.follow(nil)
	for {
		select {
		case <-n.dirty:
		case <-n.moved:
			n.dns.SetClients(searchers(n.agent.Pods()))
			continue
		case <-ctx.Done():
			return ctx.Err()
		}
		t := n.model.Table()
		t.Allow, t.Keeps = n.policies.allows, n.network.KeepsSource
		n.dns.Swap(t)
		if n.ingress != nil {
			n.ingress.Swap(t)
		}
		n.proxy.Swap(n.forwarding(n.keepSources(t)))
		n.link.ReportTable(t.Generation, n.peers.few())
		n.announce.Set(ownAddresses(t))
		n.health.follow(n.model.HealthChecks())
		n.remember(t)
	}
}

// ownAddresses are those of services that clients outside the cluster find at this node.
func ownAddresses(t *netproxy.Table) (out []netip.Addr) {
	for i := range t.Services {
		if t.Services[i].Announced {
			out = append(out, t.Services[i].BalancerIPs...)
		}
	}
	return out
}

func (n *node) markDirty() { mark(n.dirty) }

func (n *node) podChanged(hostPorts bool) {
	mark(n.moved)
	if hostPorts {
		n.markDirty()
	}
}

func mark(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (n *node) renewed(m pki.Material, err error) {
	if err != nil {
		n.log.Warn("cannot renew this node's certificate; will try again", "error", err)
		return
	}
	if n.cfg.Renewed != nil {
		n.cfg.Renewed(m)
	}
}

// leaveTimeout bounds the clean-up of a node that will not come back.
const leaveTimeout = 30 * time.Second

// leave removes all pods and what was made on the machine.
func (n *node) leave() error {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	sandboxes, err := n.executor.List(ctx)
	faults := []error{err}
	for _, s := range sandboxes {
		faults = append(faults, n.executor.RemoveSandbox(ctx, s.PodUID), n.network.Detach(ctx, s.PodUID))
	}
	if n.cri != nil {
		faults = append(faults, n.cri.Uninstall())
	}
	faults = append(faults, n.agent.ReleaseVolumes(), n.network.Close(ctx), oci.RemoveCgroups(n.cfg.CgroupParent))
	return errors.Join(faults...)
}
