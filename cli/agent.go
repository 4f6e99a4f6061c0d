package cli

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/peapod-sh/peapod/agent/pressure"
	"github.com/peapod-sh/peapod/agent/supervisor"
	"github.com/peapod-sh/peapod/cli/boot"
	"github.com/peapod-sh/peapod/rpc/fence"
	"github.com/peapod-sh/peapod/sched"
	"github.com/peapod-sh/peapod/server"
)

// supervisedVariable tells an agent process that a supervisor started it, and where that one lives.
const supervisedVariable = "PEAPOD_SUPERVISOR"

func agentCommand() *cobra.Command {
	o := &boot.Options{}
	network := newNetworkFlags()
	c := &cobra.Command{
		Use:   "agent",
		Short: "Run a server, a node, or both, of a cluster",
		Long: `Run this machine as a server, a node that runs pods, or both.

The first server founds the cluster and writes DATA-DIR/kubeconfig and DATA-DIR/join-token. Every other
machine joins with an address of a server and that token.`,
		Example: `  peapod agent --server --client                                   # a cluster of one
  peapod agent --server --join 10.0.0.1:7440 --token peapod.…      # another server
  peapod agent --client --join 10.0.0.1:7440 --token peapod.…      # a node that runs pods`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if o.Network, err = network.parse(); err != nil {
				return err
			}
			if o.FencingTime = network.fencing; o.FencingTime == 0 {
				o.FencingTime = -1
			}
			if o.Bind == "" {
				o.Bind = boot.LocalIP()
			}
			if !o.Server && !o.Client && o.Sim == 0 {
				o.Client = true
			}
			return runAgent(c.Context(), *o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Name, "name", "", "name of this machine in the cluster (default: the host name)")
	f.BoolVar(&o.Server, "server", false, "be a server: replicate the state and serve the API")
	f.BoolVar(&o.Client, "client", false, "be a node: run pods (the default without --server)")
	f.StringVar(&o.DataDir, "data-dir", "/var/lib/peapod", "directory for everything that is kept")
	f.StringVar(&o.Bind, "bind", "", "IP address of this machine (default: the one with the default route)")
	f.StringVar(&o.Bind6, "bind6", "", "IPv6 address of this node, in clusters of both families (default: one of the link that has the other)")
	f.IntVar(&o.APIPort, "api-port", boot.APIPort, "TCP port of the Kubernetes API")
	f.IntVar(&o.RPCPort, "rpc-port", boot.RPCPort, "TCP port between agents")
	f.IntVar(&o.GossipPort, "gossip-port", boot.GossipPort, "UDP and TCP port of gossip")
	f.IntVar(&o.PeerPort, "peer-port", boot.PeerPort, "TCP port where nodes give one another layers of images; 0 is off")
	f.IntVar(&o.IngressHTTPPort, "ingress-http-port", boot.IngressHTTPPort, "TCP port where this node serves ingresses, open while there are any; 0 is off")
	f.IntVar(&o.IngressHTTPSPort, "ingress-https-port", boot.IngressHTTPSPort, "TCP port where this node serves ingresses with TLS; 0 is off")
	f.Int64Var(&o.Images.GiveBytesPerSecond, "peer-bytes-per-second", 0, "most that this node gives to other nodes; 0 is no limit")
	f.StringSliceVar(&o.Join, "join", nil, "HOST:PORT of servers to join through")
	f.StringVar(&o.Token, "token", os.Getenv("PEAPOD_TOKEN"), "join token (or PEAPOD_TOKEN)")
	f.StringVar(&o.Kubeconfig, "kubeconfig-out", "", "also write the administrator's kubeconfig here")
	f.StringVar(&o.CgroupRoot, "cgroup-root", "", "cgroup below which pods run (default peapod/NAME)")
	f.StringVar(&o.Runtime, "runtime", boot.RuntimeEmbedded, "what runs pods: embedded, or cri for a container runtime of its own")
	f.StringVar(&o.CRISocket, "cri-socket", boot.CRISocket, "socket of the container runtime, for --runtime cri")
	f.StringVar(&o.CNIConf, "cni-conf", "", "have CNI plugins make the pods' network instead of the built-in one: their configuration, or a directory with it")
	f.StringSliceVar(&o.CNIPlugins, "cni-bin-dir", boot.CNIPlugins, "directories where CNI plugins are looked for")
	f.StringArrayVar(&o.Mirrors, "mirror", nil, "REGISTRY=URL to pull images from instead of REGISTRY; may be repeated")
	f.BoolVar(&o.Images.Serialize, "serialize-image-pulls", false, "pull one image at a time")
	f.IntVar(&o.Images.ParallelMax, "max-parallel-image-pulls", 0, "images pulled at a time (default 8)")
	f.StringVar(&o.EvictionHard, "eviction-hard", pressure.Defaults, "what may run low until pods are ended for it: SIGNAL<QUANTITY or SIGNAL<PERCENT%, or \"\" for never")
	f.IntVar(&o.Images.HighPercent, "image-gc-high-threshold", 85, "percentage of the disk in use from which on unused images are removed; 100 is never")
	f.IntVar(&o.Images.LowPercent, "image-gc-low-threshold", 80, "percentage of the disk in use until which unused images are removed")
	f.DurationVar(&o.Images.MinAge, "minimum-image-ttl-duration", 2*time.Minute, "how long an unused image stays at least")
	f.DurationVar(&o.Images.MaxAge, "image-maximum-gc-age", 0, "how long an unused image stays at most; 0 is for ever")
	f.Int64Var(&o.PodPidsMax, "pod-max-pids", boot.PodPidsMax, "processes and threads that a pod may have; 0 is no limit")
	f.StringSliceVar(&o.UnsafeSysctls, "allowed-unsafe-sysctls", nil, "sysctls that pods may set beside the safe ones; a name that ends in * is a prefix")
	f.StringSliceVar(&o.DNSUpstreams, "dns-upstream", nil, "ADDRESS[:PORT] of resolvers for names outside of the cluster (default: those of /etc/resolv.conf)")
	f.StringSliceVar(&o.DNSStubs, "dns-stub", nil, "DOMAIN=ADDRESS[:PORT] of a resolver for the names of one domain; may be repeated")
	f.StringVar(&o.SchedulerStrategy, "scheduler-strategy", string(sched.LeastAllocated), "which nodes a server prefers for pods: least-allocated, or most-allocated to keep others free")
	f.StringVar(&o.RootKeyFile, "root-key-file", "", "file with 32 bytes in base64 that protect the keys with which a server encrypts its disk, the same on every server (default: server/root.key in the data directory, made by the first server and given to those that join)")
	f.StringVar(&o.AuditPolicy, "audit-policy-file", "", "audit.k8s.io/v1 Policy that says which requests a server writes down (default: none)")
	f.StringVar(&o.AuditLog, "audit-log-path", "", "where to (default: server/audit.log in the data directory)")
	f.Int64Var(&o.AuditMegabytes, "audit-log-maxsize", 100, "megabytes of a file before it is put aside")
	f.IntVar(&o.AuditKept, "audit-log-maxbackup", 10, "files that were put aside and are kept")
	f.StringVar(&o.LogLevel, "log-level", "info", "trace, debug, info, warn or error")
	f.IntVar(&o.Sim, "sim", 0, "be this many simulated nodes, without processes, instead of a real one")
	f.Int64Var(&o.SimPods, "sim-pods", 110, "pods that a simulated node takes")
	network.register(f)
	return c
}

// runAgent is the launcher, and in the process that the launcher's supervisor starts, the agent.
func runAgent(ctx context.Context, o boot.Options) error {
	if o.CgroupRoot == "" {
		o.CgroupRoot = filepath.Join("peapod", o.Name)
	}
	if !o.Client {
		return bootUntilSignal(ctx, o)
	}
	if dir := os.Getenv(supervisedVariable); dir != "" {
		o.SupervisorDir = dir
		return bootUntilSignal(ctx, o)
	}
	dir := filepath.Join(o.DataDir, "supervisor")
	argv, env, err := launchLine(dir)
	if err != nil {
		return err
	}
	return supervisor.Become(dir, argv, env)
}

// launchLine is the command line that the supervisor of dir is to run: this very one.
func launchLine(dir string) (argv, env []string, err error) {
	if os.Geteuid() != 0 {
		return nil, nil, fmt.Errorf("running pods needs root: start it as root (or with sudo)")
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	return append([]string{exe}, os.Args[1:]...), append(os.Environ(), supervisedVariable+"="+dir), nil
}

// launchAndStop has the supervisor of dir run this very command line, waits in the foreground, and then
// ends the supervisor.
func launchAndStop(dir string) error {
	argv, env, err := launchLine(dir)
	if err != nil {
		return err
	}
	code, err := supervisor.Launch(dir, argv, env)
	supervisor.StopIdle(dir, true)
	if err != nil {
		return err
	}
	if code != 0 {
		return codedError{fmt.Errorf(""), code}
	}
	return nil
}

func bootUntilSignal(ctx context.Context, o boot.Options) error {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return boot.Run(ctx, o, os.Stderr)
}

// networkFlags are fixed when a cluster is founded.
type networkFlags struct {
	pods, services, domain string
	fencing                time.Duration
}

func newNetworkFlags() *networkFlags {
	n := server.DefaultNetwork()
	return &networkFlags{n.ClusterCIDR.String(), n.ServiceCIDR.String(), n.Domain, fence.Default().Lease}
}

type flagSet interface {
	StringVar(p *string, name, value, usage string)
	DurationVar(p *time.Duration, name string, value time.Duration, usage string)
}

func (n *networkFlags) register(f flagSet) {
	f.StringVar(&n.pods, "cluster-cidr", n.pods, "network of all pods; with one of IPv6 behind a comma, pods have addresses of both (when founding a cluster)")
	f.StringVar(&n.services, "service-cidr", n.services, "network of services; with one of IPv6 behind a comma, services may have addresses of both (when founding a cluster)")
	f.StringVar(&n.domain, "cluster-domain", n.domain, "DNS domain of the cluster (when founding a cluster)")
	f.DurationVar(&n.fencing, "fencing-time", n.fencing, "how long a node that hears of no leader runs pods that must not run twice; 0 is for ever, and they are not replaced then (when founding a cluster)")
}

// families reads an IPv4 network, and behind a comma perhaps one of IPv6.
func families(text string) (four, six netip.Prefix, err error) {
	first, second, both := strings.Cut(text, ",")
	if four, err = netip.ParsePrefix(first); err != nil {
		return four, six, err
	}
	if both {
		if six, err = netip.ParsePrefix(second); err != nil {
			return four, six, err
		}
	}
	if !both && four.Addr().Is6() {
		return four, six, fmt.Errorf("%s is a network of IPv6 alone, which clusters cannot have yet: name one of IPv4 before it, as in 10.1.0.0/16,%s", four, four)
	}
	if !four.Addr().Is4() || both && !six.Addr().Is6() {
		return four, six, fmt.Errorf("%q must be a network of IPv4, and perhaps behind a comma one of IPv6", text)
	}
	return four.Masked(), six.Masked(), nil
}

func (n *networkFlags) parse() (server.Network, error) {
	out := server.Network{Domain: n.domain}
	var err error
	if out.ClusterCIDR, out.ClusterCIDR6, err = families(n.pods); err != nil {
		return out, fmt.Errorf("--cluster-cidr: %w", err)
	}
	if out.ServiceCIDR, out.ServiceCIDR6, err = families(n.services); err != nil {
		return out, fmt.Errorf("--service-cidr: %w", err)
	}
	if out.ClusterCIDR6.IsValid() != out.ServiceCIDR6.IsValid() {
		return out, fmt.Errorf("--cluster-cidr and --service-cidr must both have an IPv6 network, or neither")
	}
	return out, out.Check()
}
