package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"

	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/internal/version"
	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/liveness"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
	"github.com/peapod-sh/peapod/sched/reconcile"
	"github.com/peapod-sh/peapod/server/kube"
)

// Config of a server. Addresses are host:port.
type Config struct {
	Name         string
	DataDir      string // the server's own directory
	RPC          net.Listener
	API          net.Listener
	AdvertiseRPC string
	AdvertiseAPI string
	Network      Network // of a new cluster; ignored when joining
	// GossipSeeds are members that a joining agent gossips with first.
	GossipSeeds func() []string
	Metrics     http.Handler
	Logger      hclog.Logger
}

// Server is one Raft server. Make it with Open, start it with Run.
type Server struct {
	cfg      Config
	log      hclog.Logger
	passport *Passport
	identity *pki.Identity

	state     *fsm.FSM
	meta      settings
	consensus *consensus
	proposer  *proposer
	barrier   *barrier
	store     *store
	rpc       *rpc.Server
	pool      *rpc.Pool
	nodes     *nodeConns
	watchman  *watchman

	// ready says that this server leads and has applied every entry of earlier terms.
	ready atomic.Bool
}

// Found prepares the data directory of a cluster's first server, unless it has an identity already.
func Found(cfg Config) (*Passport, error) {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	p, err := LoadPassport(cfg.DataDir)
	if err != nil || p != nil {
		return p, err
	}
	if p, err = newCluster(cfg.Name, time.Now()); err != nil {
		return nil, err
	}
	return p, p.Save(cfg.DataDir)
}

// Open starts consensus over the data directory, whose passport says which cluster it is of. gossip
// says what other members think of a node.
func Open(cfg Config, passport *Passport, gossip Gossip) (*Server, error) {
	identity, err := passport.Identity()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: cfg.Logger, passport: passport, identity: identity, state: fsm.New(), nodes: newNodeConns()}
	s.meta = settings{s.state}
	s.watchman = newWatchman(s.now, gossip, func() bool { return s.leads() })
	methods := rpc.NewMethods()
	s.registerMethods(methods)
	s.rpc = rpc.NewServer(identity, methods, cfg.Logger.Named("rpc"))
	s.rpc.Joiner, s.rpc.Connected = s, s.nodes.connected
	s.pool = rpc.NewPool(&rpc.Dialer{Identity: identity, Methods: methods, Logger: cfg.Logger.Named("rpc")})
	s.consensus, err = openConsensus(consensusConfig{
		name: cfg.Name, dir: cfg.DataDir, bootstrap: passport.Genesis != nil, state: s.state,
		layer: rpc.NewStreamLayer(s.rpc, raft.ServerAddress(cfg.Name), s.resolve), logger: cfg.Logger.Named("raft"),
	})
	if err != nil {
		return nil, err
	}
	s.proposer = newProposer(s.consensus, s, s.state.WaitIndex)
	s.barrier = &barrier{confirm: s.confirm}
	s.store = &store{s.state, s.proposer, s.barrier}
	return s, nil
}

func (s *Server) now() time.Time { return time.Now() }

// State is the replicated state, to be read.
func (s *Server) State() *fsm.FSM { return s.state }

// Identity is who this server is to its peers.
func (s *Server) Identity() *pki.Identity { return s.identity }

// resolve finds a server by its name, which is its raft address too.
func (s *Server) resolve(address raft.ServerAddress) (name, hostPort string, err error) {
	hostPort, err = s.addressOf(string(address))
	return string(address), hostPort, err
}

// addressOf knows members from the log, and before that from the passport.
func (s *Server) addressOf(name string) (string, error) {
	if m, ok := s.meta.member(name); ok {
		return m.RPC, nil
	}
	for _, known := range s.passport.Servers {
		if known.Name == name {
			return known.Address, nil
		}
	}
	return "", fmt.Errorf("the address of server %q is not known here", name)
}

// leads says that this server leads and knows every write acknowledged before its term.
func (s *Server) leads() bool { return s.ready.Load() && s.consensus.Leading() }

// confirm finds an index for linearizable reads: from the quorum, if we lead, else from the leader.
func (s *Server) confirm(ctx context.Context) (uint64, error) {
	for {
		index, err := s.confirmOnce(ctx)
		if err == nil || ctx.Err() != nil {
			return index, err
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return 0, ErrNoLeader
		}
	}
}

func (s *Server) confirmOnce(ctx context.Context) (uint64, error) {
	if s.consensus.Leading() {
		if !s.leads() {
			return 0, errNotLeader
		}
		return s.consensus.confirm(ctx)
	}
	name, address, err := s.leader()
	if err != nil {
		return 0, err
	}
	reply := &wire.ReadIndexReply{}
	if err := s.pool.Call(ctx, name, address, wire.MethodReadIndex, &wire.ReadIndexRequest{}, reply); err != nil {
		return 0, err
	}
	if reply.NotLeader {
		return 0, errNotLeader
	}
	return reply.Index, nil
}

// Run serves until ctx ends: peers first, then consensus' writes, then terms and the API.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.rpc.Serve(ctx, s.cfg.RPC) })
	g.Go(func() error { return s.proposer.Run(ctx) })
	g.Go(func() error { return s.lead(ctx) })
	g.Go(func() error { return s.announce(ctx) })
	g.Go(func() error { return s.serveAPI(ctx) })
	g.Go(func() error { return s.trim(ctx) })
	g.Go(func() error { return s.serveAdmin(ctx) })
	g.Go(func() error { return s.identity.Run(ctx, s.renewOwn, s.renewed) })
	err := g.Wait()
	closing := errors.Join(s.pool.Close(), s.consensus.close())
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, closing)
}

// lead runs one term after the other.
func (s *Server) lead(ctx context.Context) error {
	for {
		select {
		case leading := <-s.consensus.raft.LeaderCh():
			if leading {
				s.serveTerm(ctx)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// serveTerm does a leader's work until it no longer leads. A fault ends the work, not the leadership:
// it begins again, as with a new term.
func (s *Server) serveTerm(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer s.ready.Store(false)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := s.term(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("the leader's work stopped and begins again", "error", err)
				time.Sleep(retryPause)
			}
		}
	}()
	for leading := true; leading; {
		select {
		case leading = <-s.consensus.raft.LeaderCh():
		case <-ctx.Done():
			leading = false
		}
	}
	s.log.Info("no longer the leader")
	cancel()
	<-done
}

func (s *Server) term(ctx context.Context) error {
	if err := s.consensus.raft.Barrier(proposeTimeout).Error(); err != nil {
		return fmt.Errorf("waiting for the earlier log: %w", err)
	}
	s.ready.Store(true)
	s.log.Info("leading")
	if err := s.genesis(ctx); err != nil {
		return err
	}
	engine, err := s.newEngine()
	if err != nil {
		return err
	}
	verdicts := make(chan liveness.Transition, verdictsMax)
	t := &term{state: s.state, proposer: s.proposer, engine: engine, verdicts: verdicts, log: s.log.Named("term"), now: s.now}
	for _, v := range s.watchman.begin(s.nodeNames()) {
		t.judge(v)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return t.Run(ctx) })
	g.Go(func() error { return s.watchman.Run(ctx, verdicts) })
	g.Go(func() error { return s.housekeep(ctx) })
	return g.Wait()
}

func (s *Server) newEngine() (*reconcile.Engine, error) {
	network, err := s.meta.network()
	if err != nil {
		return nil, err
	}
	ca, err := s.meta.ca()
	if err != nil {
		return nil, err
	}
	return reconcile.New(reconcile.Config{Seed: rand.Uint64(), ClusterCIDR: network.ClusterCIDR,
		RootCA: string(ca.CertPEM()), PreparePod: kube.PreparePod}), nil
}

// announce tells the cluster where this server is, as often as it takes: to become a voter after
// joining, and to be found after a change of address.
func (s *Server) announce(ctx context.Context) error {
	want := member{RPC: s.cfg.AdvertiseRPC, API: s.cfg.AdvertiseAPI}
	q := &wire.AddServerRequest{Name: s.cfg.Name, Address: want.RPC, API: want.API}
	for {
		got, known := s.meta.member(s.cfg.Name)
		voters, _ := s.consensus.members()
		if known && got == want && len(voters) > 0 {
			return nil
		}
		if err := s.announceOnce(ctx, q); err != nil {
			s.log.Debug("not announced yet", "error", err)
		}
		select {
		case <-time.After(announcePause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Server) announceOnce(ctx context.Context, q *wire.AddServerRequest) error {
	if s.consensus.Leading() {
		_, err := s.addServer(ctx, rpc.Caller{Peer: s.identity.Peer()}, q)
		return err
	}
	var faults []error
	for _, known := range append(s.meta.servers(), s.passport.Servers...) {
		if known.Name == s.cfg.Name {
			continue
		}
		err := s.pool.Call(ctx, known.Name, known.Address, wire.MethodAddServer, q, &wire.Empty{})
		if err == nil {
			return nil
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// serveAPI waits for the cluster's state and then serves the Kubernetes API.
func (s *Server) serveAPI(ctx context.Context) error {
	ca, network, err := s.waitFounded(ctx)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate())
	api, err := kube.New(kube.Config{
		Store: s.store, Nodes: s.nodes, TLS: &tls.Config{GetCertificate: s.servingCertificate(ca, network)},
		ClientCA: func() *x509.CertPool { return pool }, ServiceCIDR: network.ServiceCIDR, DNSAddress: network.DNSVIP(),
		Version: version.Git()[1:], Address: s.cfg.AdvertiseAPI, Ready: s.Ready, Metrics: s.cfg.Metrics, Logger: s.log.Named("api"),
	})
	if err != nil {
		return err
	}
	return api.Run(ctx, s.cfg.API)
}

// waitFounded returns once the CA and the network are in the local state.
func (s *Server) waitFounded(ctx context.Context) (*pki.CA, Network, error) {
	for {
		ca, err := s.meta.ca()
		if err == nil {
			network, err := s.meta.network()
			if err == nil {
				return ca, network, nil
			}
		}
		if err != nil && !errors.Is(err, errNotReady) {
			return nil, Network{}, err
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return nil, Network{}, ctx.Err()
		}
	}
}

// servingCertificate issues the API's certificate, and a new one when two thirds of its life are over:
// every handshake asks.
func (s *Server) servingCertificate(ca *pki.CA, network Network) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	var mu sync.Mutex
	var current *tls.Certificate
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		if current != nil && s.now().Before(renewTime(current.Leaf)) {
			return current, nil
		}
		next, err := s.issueServing(ca, network)
		if err != nil {
			return current, err
		}
		current = next
		return current, nil
	}
}

func renewTime(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) * 2 / 3)
}

func (s *Server) issueServing(ca *pki.CA, network Network) (*tls.Certificate, error) {
	addresses := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, network.KubernetesVIP().AsSlice()}
	var names []string
	if host, _, err := net.SplitHostPort(s.cfg.AdvertiseAPI); err == nil {
		if ip := net.ParseIP(host); ip != nil {
			addresses = append(addresses, ip)
		} else {
			names = append(names, host)
		}
	}
	pair, err := ca.IssueServing(s.cfg.Name, network.Domain, names, addresses, s.now())
	if err != nil {
		return nil, err
	}
	c, err := tls.X509KeyPair(pair.Cert, pair.Key)
	return &c, err
}

// Ready says whether the API can be used: the state is here and somebody leads.
func (s *Server) Ready() error {
	if s.consensus.leader() == "" {
		return ErrNoLeader
	}
	_, err := s.meta.network()
	return err
}

// WaitReady waits until the cluster works as seen from this server.
func (s *Server) WaitReady(ctx context.Context) error {
	if _, _, err := s.waitFounded(ctx); err != nil {
		return err
	}
	return s.store.Barrier(ctx)
}

// trim drops old watch history now and then.
func (s *Server) trim(ctx context.Context) error {
	ticker := time.NewTicker(trimInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.state.Trim()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// AdminKubeconfig makes a kubeconfig for a member of system:masters.
func (s *Server) AdminKubeconfig(user string, groups []string) (pki.Kubeconfig, error) {
	ca, err := s.meta.ca()
	if err != nil {
		return pki.Kubeconfig{}, err
	}
	pair, err := ca.IssueClient(user, groups, adminValidity, s.now())
	if err != nil {
		return pki.Kubeconfig{}, err
	}
	return pki.Kubeconfig{Cluster: "peapod", Server: "https://" + s.cfg.AdvertiseAPI, CA: ca.CertPEM(), User: user, Client: pair}, nil
}

// renewOwn has this server's new key signed by the CA that it shares.
func (s *Server) renewOwn(_ context.Context, request []byte) (cert, ca []byte, err error) {
	authority, err := s.meta.ca()
	if err != nil {
		return nil, nil, err
	}
	cert, err = authority.SignPeer(request, s.identity.Peer(), s.now())
	return cert, authority.CertPEM(), err
}

func (s *Server) renewed(m pki.Material, err error) {
	if err != nil {
		s.log.Warn("cannot renew this server's certificate; will try again", "error", err)
		return
	}
	next := *s.passport
	next.SetMaterial(m)
	if err := next.Save(s.cfg.DataDir); err != nil {
		s.log.Warn("cannot keep the renewed certificate", "error", err)
	}
}

func (s *Server) gossipSeeds() []string {
	if s.cfg.GossipSeeds == nil {
		return nil
	}
	return s.cfg.GossipSeeds()
}
