package boot

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/peapod-sh/peapod/agent/image"
	"github.com/peapod-sh/peapod/agent/node"
	"github.com/peapod-sh/peapod/agent/pressure"
	"github.com/peapod-sh/peapod/netproxy/dns"
	"github.com/peapod-sh/peapod/rpc/fence"
	"github.com/peapod-sh/peapod/sched"
	"github.com/peapod-sh/peapod/server"
)

// Ports that an agent uses unless told otherwise.
const (
	APIPort    = 6443
	RPCPort    = 7440
	GossipPort = 7441
	PeerPort   = 7442
	// Those of ingresses, which are open only while there are any.
	IngressHTTPPort  = 80
	IngressHTTPSPort = 443
)

// PodPidsMax is how many processes and threads a pod may have unless told otherwise: more than programs have, fewer than
// would hurt the node.
const PodPidsMax = 8192

// Runtimes that run pods.
const (
	RuntimeEmbedded = "embedded"
	RuntimeCRI      = "cri"
	// CRISocket is containerd's.
	CRISocket = "/run/containerd/containerd.sock"
)

// CNIPlugins are the directories where distributions and other runtimes keep plugins for the pods' network.
var CNIPlugins = []string{"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"}

// Options of an agent process.
type Options struct {
	Name           string
	Server, Client bool
	DataDir        string
	Bind           string // IP address of this machine, for all ports
	Bind6          string // IPv6 address of a node, in clusters of both families; "" is one of the link that has Bind
	APIPort        int
	RPCPort        int
	GossipPort     int
	// RootKeyFile has the key that wraps a server's keyring; "" is one that it makes or is given.
	RootKeyFile string
	// AuditPolicy is the file that says what of the API's requests a server writes down; "" is nothing. AuditLog is where, "" in DataDir.
	AuditPolicy, AuditLog string
	AuditMegabytes        int64 // of a file, before it is put aside
	AuditKept             int   // files that were put aside

	PeerPort int // 0: layers of images are neither given to other nodes nor asked of them
	// IngressHTTPPort and IngressHTTPSPort are where a node serves ingresses; 0 does not.
	IngressHTTPPort, IngressHTTPSPort int
	Join                              []string // host:port of servers
	Token                             string
	Kubeconfig                        string // file to write the administrator's kubeconfig to
	CgroupRoot                        string
	PodPidsMax                        int64    // processes of a pod; 0 is no limit
	UnsafeSysctls                     []string // that pods may set
	DNSUpstreams                      []string // ADDRESS[:PORT]; empty means those of /etc/resolv.conf
	DNSStubs                          []string // DOMAIN=ADDRESS[:PORT]
	Runtime                           string   // RuntimeEmbedded, or RuntimeCRI at CRISocket
	CRISocket                         string
	CNIConf                           string // of the plugins that make the pods' network; "" is the built-in one
	CNIPlugins                        []string
	Mirrors                           []string // REGISTRY=URL
	Images                            node.ImagesConfig
	EvictionHard                      string // thresholds as in pressure.Parse
	LogLevel                          string
	// SchedulerStrategy is a sched.Strategy; "" is the default one.
	SchedulerStrategy string
	Network           server.Network
	FencingTime       time.Duration // of a new cluster; 0 is the default, less is no fencing
	Sim               int           // number of simulated nodes, instead of a real one
	SimPods           int64
	Leave             bool // leave nothing behind on the machine when the process ends
	SupervisorDir     string
	// Up, if not nil, is called once when everything that was asked for serves.
	Up func(kubeconfig string)
}

// bind6 is not valid if there is none.
func (o *Options) bind6() netip.Addr {
	a, _ := netip.ParseAddr(o.Bind6)
	return a
}

// fencing are the times of a new cluster.
func (o *Options) fencing() fence.Times {
	t := fence.Default()
	t.Lease = max(0, o.FencingTime)
	return t
}

// complete fills in defaults and reports every fault at once.
func (o *Options) complete() error {
	if o.Name == "" {
		o.Name, _ = os.Hostname()
		o.Name = strings.ToLower(o.Name)
	}
	o.CRISocket = strings.TrimPrefix(o.CRISocket, "unix://") // as other programs want it
	for p, d := range map[*int]int{&o.APIPort: APIPort, &o.RPCPort: RPCPort, &o.GossipPort: GossipPort} {
		if *p == 0 {
			*p = d
		}
	}
	if o.Runtime == "" {
		o.Runtime = RuntimeEmbedded
	}
	if o.FencingTime == 0 {
		o.FencingTime = fence.Default().Lease
	}
	if !o.Network.ServiceCIDR.IsValid() {
		o.Network = server.DefaultNetwork()
	}
	return errors.Join(o.faults()...)
}

func (o *Options) faults() []error {
	var out []error
	add := func(format string, args ...any) { out = append(out, fmt.Errorf(format, args...)) }
	if !o.Server && !o.Client && o.Sim == 0 {
		add("nothing to do: give --server, --client or both")
	}
	if ip, err := netip.ParseAddr(o.Bind); err != nil || ip.IsUnspecified() {
		add("--bind %q must be an IP address of this machine that the other machines can reach, such as 192.168.1.10", o.Bind)
	}
	if ip, err := netip.ParseAddr(o.Bind6); o.Bind6 != "" && (err != nil || !ip.Is6() || ip.Is4In6() || ip.IsUnspecified() || ip.IsLinkLocalUnicast()) {
		add("--bind6 %q must be an IPv6 address of this machine that the other machines can reach, such as fd00:1::10", o.Bind6)
	}
	if !o.Server && len(o.Join) == 0 {
		add("a node needs a cluster: give --join HOST:%d of a server, and --token", RPCPort)
	}
	for flag, p := range map[string]int{"http": o.IngressHTTPPort, "https": o.IngressHTTPSPort} {
		if p < 0 || p > 65535 {
			add("--ingress-%s-port %d must be a port, or 0 for none", flag, p)
		}
	}
	if o.Runtime != RuntimeEmbedded && o.Runtime != RuntimeCRI {
		add("--runtime %q is neither %s nor %s", o.Runtime, RuntimeEmbedded, RuntimeCRI)
	}
	if o.Runtime == RuntimeCRI && !filepath.IsAbs(o.CRISocket) {
		add("--cri-socket %q must be an absolute path, such as %s", o.CRISocket, CRISocket)
	}
	if o.CNIConf != "" && !filepath.IsAbs(o.CNIConf) {
		add("--cni-conf %q must be an absolute path, such as /etc/cni/net.d", o.CNIConf)
	}
	if o.RootKeyFile != "" && !filepath.IsAbs(o.RootKeyFile) {
		add("--root-key-file %q must be an absolute path", o.RootKeyFile)
	}
	if !filepath.IsAbs(o.DataDir) {
		add("--data-dir %q must be an absolute path", o.DataDir)
	}
	if o.Client && os.Geteuid() != 0 {
		add("running pods needs root: start the agent as root (or with sudo), or give --server only")
	}
	if o.PodPidsMax < 0 {
		add("--pod-max-pids %d must be 0, for no limit, or more", o.PodPidsMax)
	}
	if hclog.LevelFromString(o.LogLevel) == hclog.NoLevel {
		add("--log-level %q is none of trace, debug, info, warn, error", o.LogLevel)
	}
	if s := sched.Strategy(o.SchedulerStrategy); !s.Known() {
		add("--scheduler-strategy %q is neither %s nor %s", s, sched.LeastAllocated, sched.MostAllocated)
	}
	if _, err := o.mirrors(); err != nil {
		out = append(out, err)
	}
	if _, _, err := o.resolvers(); err != nil {
		out = append(out, err)
	}
	if _, err := pressure.Parse(o.EvictionHard); err != nil {
		out = append(out, err)
	}
	if err := o.fencing().Check(); err != nil {
		add("--fencing-time: %w", err)
	}
	if err := o.Images.Validate(); err != nil {
		out = append(out, err)
	}
	return out
}

// mirrors reads REGISTRY=URL.
func (o *Options) mirrors() (map[string][]image.Mirror, error) {
	out := map[string][]image.Mirror{}
	for _, text := range o.Mirrors {
		registry, url, ok := strings.Cut(text, "=")
		if !ok || registry == "" || !strings.Contains(url, "://") {
			return nil, fmt.Errorf("--mirror %q must read REGISTRY=URL, such as docker.io=http://127.0.0.1:5000", text)
		}
		out[registry] = append(out[registry], image.Mirror{URL: url})
	}
	return out, nil
}

// resolvers reads what DNS asks beside the cluster's table. No upstreams are nil.
func (o *Options) resolvers() ([]netip.AddrPort, dns.Stubs, error) {
	upstreams, err := dns.ParseResolvers(o.DNSUpstreams)
	if err != nil {
		return nil, nil, fmt.Errorf("--dns-upstream: %w", err)
	}
	stubs, err := dns.ParseStubs(o.DNSStubs)
	if err != nil {
		return nil, nil, fmt.Errorf("--dns-stub: %w", err)
	}
	return upstreams, stubs, nil
}

// criSocket is the path of the container runtime's socket, "" for the embedded runtime.
func (o *Options) criSocket() string {
	if o.Runtime != RuntimeCRI {
		return ""
	}
	return o.CRISocket
}

func (o *Options) at(port int) string { return joinHostPort(o.Bind, port) }

func joinHostPort(host string, port int) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(port)
}

// auditLog is where a server writes who asked for what.
func (o *Options) auditLog() string {
	if o.AuditLog != "" {
		return o.AuditLog
	}
	return filepath.Join(o.DataDir, "server", "audit.log")
}
