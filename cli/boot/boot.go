package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"

	"github.com/peapod-sh/peapod/agent"
	"github.com/peapod-sh/peapod/agent/node"
	"github.com/peapod-sh/peapod/agent/pressure"
	"github.com/peapod-sh/peapod/internal/gcpace"
	"github.com/peapod-sh/peapod/internal/processors"
	"github.com/peapod-sh/peapod/internal/version"
	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/gossip"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
	"github.com/peapod-sh/peapod/sched"
	"github.com/peapod-sh/peapod/server"
	"github.com/peapod-sh/peapod/server/audit"
)

// process is one agent process while it boots and runs.
type process struct {
	o       Options
	log     hclog.Logger
	metrics http.Handler
	gossip  *gossip.Gossip
	server  *server.Server
	lock    *os.File
}

// Run boots and runs until ctx ends. Its error is a sentence for the person who started the process.
func Run(ctx context.Context, o Options, logs io.Writer) error {
	if err := o.complete(); err != nil {
		return err
	}
	p := &process{o: o, log: hclog.New(&hclog.LoggerOptions{Name: "peapod", Level: hclog.LevelFromString(o.LogLevel), Output: logs})}
	// The Kubernetes libraries log by klog: their chatter is of interest only when looking for a fault.
	klog.SetLogger(funcr.New(func(_, args string) { p.log.Named("kube").Debug(args) }, funcr.Options{}))
	p.log.Info("starting", "version", version.Version, "name", o.Name, "server", o.Server, "client", o.Client, "address", o.Bind)
	if err := p.lockData(); err != nil {
		return err
	}
	defer p.lock.Close()
	p.metrics = newMetrics()
	g, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if o.Server {
		if err := p.startServer(ctx, g); err != nil {
			cancel()
			return errors.Join(err, g.Wait())
		}
	}
	g.Go(func() error { return p.startNodes(ctx) })
	err := g.Wait()
	if p.gossip != nil {
		_ = p.gossip.Leave(leaveTimeout) // others then know at once; if they do not hear it, they find out
		_ = p.gossip.Close()
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

const leaveTimeout = 200 * time.Millisecond

// lockData makes sure that the data directory can be used, and by this process only.
func (p *process) lockData() error {
	if err := os.MkdirAll(p.o.DataDir, 0o700); err != nil {
		return fmt.Errorf("the data directory %s cannot be made: %w; choose another with --data-dir", p.o.DataDir, err)
	}
	f, err := os.OpenFile(filepath.Join(p.o.DataDir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("the data directory %s cannot be used: %w; fix its permissions or choose another with --data-dir", p.o.DataDir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return fmt.Errorf("the data directory %s is in use by another peapod agent; stop that one or choose another with --data-dir", p.o.DataDir)
	}
	p.lock = f
	return nil
}

// startServer opens the ports, finds the cluster and runs the server.
func (p *process) startServer(ctx context.Context, g *errgroup.Group) error {
	cfg := server.Config{Name: p.o.Name, DataDir: filepath.Join(p.o.DataDir, "server"), Network: p.o.Network, Fencing: p.o.fencing(),
		AdvertiseRPC: p.o.at(p.o.RPCPort), AdvertiseAPI: p.o.at(p.o.APIPort), Metrics: p.metrics, Logger: p.log,
		Strategy: sched.Strategy(p.o.SchedulerStrategy), RootKeyFile: p.o.RootKeyFile}
	if p.o.AuditPolicy != "" {
		cfg.Audit = audit.Config{Policy: p.o.AuditPolicy, File: p.o.auditLog(), BytesMax: p.o.AuditMegabytes << 20, Kept: p.o.AuditKept, Logger: p.log.Named("audit")}
	}
	var err error
	if cfg.RPC, err = rpc.Listen(ctx, p.o.at(p.o.RPCPort)); err != nil {
		return err
	}
	if cfg.API, err = rpc.Listen(ctx, p.o.at(p.o.APIPort)); err != nil {
		return err
	}
	passport, err := p.serverPassport(ctx, cfg)
	if err != nil {
		return err
	}
	if err := p.startGossip(ctx, g, passport); err != nil {
		return err
	}
	cfg.GossipSeeds = p.gossipSeeds
	if p.server, err = server.Open(cfg, passport, p.gossip); err != nil {
		return err
	}
	processors.Spare(processors.Own()) // for raft and for short requests, beside long ones on all of its own
	g.Go(func() error {
		defer gcpace.Start(gcpace.Floor(uint64(agent.Memory())))()
		return p.server.Run(ctx)
	})
	g.Go(func() error { return p.welcome(ctx) })
	return nil
}

// serverPassport is on disk already, or the cluster is founded or joined.
func (p *process) serverPassport(ctx context.Context, cfg server.Config) (*server.Passport, error) {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("making the server's data directory: %w", err)
	}
	if have, err := server.LoadPassport(cfg.DataDir); have != nil || err != nil {
		return have, err
	}
	if len(p.o.Join) == 0 {
		p.log.Info("founding a new cluster")
		return server.Found(cfg)
	}
	return p.join(ctx, cfg.DataDir, pki.Peer{Role: pki.RoleServer, Name: p.o.Name}, p.o.Join, p.o.Token, cfg.AdvertiseRPC)
}

func (p *process) join(ctx context.Context, dir string, self pki.Peer, through []string, token, advertise string) (*server.Passport, error) {
	if token == "" {
		return nil, fmt.Errorf("joining needs a token: make one with `peapod token create` on a server and give it with --token")
	}
	passport, err := p.knock(ctx, through, token, self, advertise)
	if err != nil {
		return nil, err
	}
	p.log.Info("joined the cluster", "as", self.String())
	return passport, passport.Save(dir)
}

// knock asks to join until a server answers. An answer of no is final.
func (p *process) knock(ctx context.Context, through []string, token string, self pki.Peer, advertise string) (*server.Passport, error) {
	for tries := 0; ; tries++ {
		passport, err := server.JoinCluster(ctx, through, token, self, advertise)
		code := rpc.CodeOf(err)
		if err == nil || code == rpc.CodeDenied || code == rpc.CodeInvalid || errors.Is(err, pki.ErrPin) || errors.Is(err, pki.ErrToken) {
			return passport, err
		}
		if tries%joinComplainEvery == 0 {
			p.log.Warn("cannot join yet; will keep trying", "error", err)
		}
		select {
		case <-time.After(joinPause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

const (
	joinPause         = 200 * time.Millisecond
	joinComplainEvery = 25
)

func (p *process) startGossip(ctx context.Context, g *errgroup.Group, passport *server.Passport) error {
	var err error
	p.gossip, err = gossip.Start(gossip.Config{Name: p.o.Name, Role: p.role(), BindAddr: p.o.Bind, BindPort: p.o.GossipPort,
		Key: passport.GossipKey, Logger: p.log.Named("gossip")})
	if err != nil {
		return err
	}
	if len(passport.Gossip) > 0 {
		if err := p.gossip.Join(passport.Gossip); err != nil {
			p.log.Debug("no member of the gossip has answered yet", "error", err)
		}
	}
	g.Go(func() error { return p.gossip.Run(ctx) })
	return nil
}

func (p *process) role() string {
	if p.o.Server {
		return "server"
	}
	return "node"
}

// gossipSeeds are the living members.
func (p *process) gossipSeeds() []string {
	var out []string
	for _, m := range p.gossip.Members() {
		out = append(out, m.Address)
	}
	return out
}

// welcome writes what the first visitor needs: the administrator's kubeconfig and a join token.
func (p *process) welcome(ctx context.Context) error {
	if err := p.server.WaitReady(ctx); err != nil {
		return err
	}
	k, err := p.server.AdminKubeconfig("admin", []string{"system:masters"})
	if err != nil {
		return err
	}
	paths := []string{filepath.Join(p.o.DataDir, "kubeconfig")}
	if p.o.Kubeconfig != "" {
		paths = append(paths, p.o.Kubeconfig)
	}
	for _, path := range paths {
		if err := k.WriteFile(path); err != nil {
			return fmt.Errorf("writing the kubeconfig: %w", err)
		}
	}
	if err := p.writeToken(ctx); err != nil {
		return err
	}
	p.log.Info("the API serves", "address", "https://"+p.o.at(p.o.APIPort), "kubeconfig", paths[len(paths)-1])
	if p.o.Up != nil && !p.o.Client {
		p.o.Up(paths[len(paths)-1])
	}
	return nil
}

// writeToken keeps a join token in the first server's data directory.
func (p *process) writeToken(ctx context.Context) error {
	path := filepath.Join(p.o.DataDir, "join-token")
	if len(p.o.Join) > 0 {
		return nil
	}
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	token, err := p.server.CreateToken(ctx, 0)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(token+"\n"), 0o600)
}

// startNodes runs this process's node, or its simulated ones, if it has any.
func (p *process) startNodes(ctx context.Context) error {
	switch {
	case p.o.Sim > 0:
		return p.runSim(ctx)
	case p.o.Client:
		return p.runNode(ctx)
	}
	return nil
}

func (p *process) runNode(ctx context.Context) error {
	dir := filepath.Join(p.o.DataDir, "node")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the node's data directory: %w", err)
	}
	passport, err := p.nodePassport(ctx, dir)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	if p.gossip == nil {
		if err := p.startGossip(ctx, g, passport); err != nil {
			return err
		}
	}
	identity, err := passport.Identity()
	if err != nil {
		return err
	}
	mirrors, err := p.o.mirrors()
	if err != nil {
		return err
	}
	eviction, err := pressure.Parse(p.o.EvictionHard)
	if err != nil {
		return err
	}
	upstreams, stubs, err := p.o.resolvers()
	if err != nil {
		return err
	}
	keep := func(change func(*server.Passport)) {
		next := *passport
		change(&next)
		if err := next.Save(dir); err != nil {
			p.log.Warn("cannot keep the node's membership on disk", "error", err)
			return
		}
		*passport = next
	}
	g.Go(func() error {
		return node.Run(ctx, node.Config{
			Name: p.o.Name, Address: netip.MustParseAddr(p.o.Bind), Address6: p.o.bind6(), DataDir: dir, SupervisorDir: p.o.SupervisorDir, CgroupParent: p.o.CgroupRoot, CRISocket: p.o.criSocket(),
			CNIConf: p.o.CNIConf, CNIPlugins: p.o.CNIPlugins,
			Identity: identity, Servers: passport.Servers, Mirrors: mirrors, Images: p.o.Images, Eviction: eviction, PeerPort: p.o.PeerPort,
			IngressHTTPPort: p.o.IngressHTTPPort, IngressHTTPSPort: p.o.IngressHTTPSPort,
			Version: version.Version, Labels: p.nodeLabels(), Metrics: p.metrics, Logger: p.log, Leave: p.o.Leave,
			PodPidsMax: p.o.PodPidsMax, UnsafeSysctls: p.o.UnsafeSysctls, DNSUpstreams: upstreams, DNSStubs: stubs,
			Remember: func(list []wire.ServerAddress) { keep(func(x *server.Passport) { x.Servers = list }) },
			Renewed:  func(m pki.Material) { keep(func(x *server.Passport) { x.SetMaterial(m) }) },
			Up: func() {
				if p.o.Up != nil {
					p.o.Up(p.kubeconfig())
				}
			},
		})
	})
	return g.Wait()
}

// nodeLabels show in kubectl's ROLES column that a node is a server too.
func (p *process) nodeLabels() map[string]string {
	if !p.o.Server {
		return nil
	}
	return map[string]string{"node-role.kubernetes.io/control-plane": ""}
}

func (p *process) kubeconfig() string {
	if p.o.Kubeconfig != "" {
		return p.o.Kubeconfig
	}
	return filepath.Join(p.o.DataDir, "kubeconfig")
}

// nodePassport is on disk already, or the cluster is joined: through this process's own server, if it has one.
func (p *process) nodePassport(ctx context.Context, dir string) (*server.Passport, error) {
	have, err := server.LoadPassport(dir)
	if have != nil || err != nil {
		return have, err
	}
	self := pki.Peer{Role: pki.RoleNode, Name: p.o.Name}
	if p.server == nil {
		return p.join(ctx, dir, self, p.o.Join, p.o.Token, "")
	}
	if err := p.server.WaitReady(ctx); err != nil {
		return nil, err
	}
	token, err := p.server.CreateToken(ctx, ownTokenLife)
	if err != nil {
		return nil, err
	}
	return p.join(ctx, dir, self, []string{p.o.at(p.o.RPCPort)}, token, "")
}

// ownTokenLife is how long the token lives with which a process's node joins its own server.
const ownTokenLife = time.Minute

// LocalIP is the address by which this machine reaches the rest of the world, for a default of --bind;
// 127.0.0.1 if it reaches nothing. No packet is sent.
func LocalIP() string {
	c, err := net.Dial("udp", "192.0.2.1:9")
	if err != nil {
		return "127.0.0.1"
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).IP.String()
}
