package server

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/fence"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/sched"
	"github.com/peapod-sh/peapod/server/audit"
	"github.com/peapod-sh/peapod/server/keyring"
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
	Network      Network     // of a new cluster; ignored when joining
	Fencing      fence.Times // likewise; zero is no fencing
	// Strategy is how the scheduler chooses between nodes that fit, while this server leads.
	Strategy sched.Strategy
	// RootKeyFile has the key that wraps the keyring, which somebody put there; "" is a file of this server's own in DataDir.
	RootKeyFile string
	// Audit is where this server writes who asked its API for what; the zero value writes nothing.
	Audit audit.Config
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
	vault     *vault
	meta      settings
	consensus *consensus
	proposer  *proposer
	barrier   *barrier
	followed  *barrier // confirms that a majority follows this leader
	store     *store
	rpc       *rpc.Server
	pool      *rpc.Pool
	nodes     *nodeConns
	watchman  *watchman
	tables    *tables

	succession *succession
	issuer     issuerCache
	// loggedMembers are the servers' addresses in the log as it was when this server started.
	loggedMembers func() map[string]member

	// ready says that this server leads and has applied every entry of earlier terms.
	ready atomic.Bool
	// leases are the term's; a server that does not lead cannot confirm that it is followed, whatever is left here.
	leases  atomic.Pointer[fence.Leases]
	turning sync.Mutex // the keyring
	// api is this server's part of the Kubernetes API; nil before it serves.
	api atomic.Pointer[kube.Server]
	// audit is nil unless it was asked for.
	audit *audit.Log
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
	if cfg.RootKeyFile == "" {
		p.Root = keyring.NewRoot().Secret()
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
	if s.vault, err = openVault(cfg, passport, s.state); err != nil {
		return nil, err
	}
	if cfg.Audit.Policy != "" {
		if s.audit, err = audit.Open(cfg.Audit); err != nil {
			return nil, err
		}
	}
	s.watchman = newWatchman(s.now, gossip, func() bool { return s.leads() && s.consensus.followedWithin(followedLately) })
	s.tables = newTables()
	methods := rpc.NewMethods()
	s.registerMethods(methods)
	s.rpc = rpc.NewServer(identity, methods, cfg.Logger.Named("rpc"))
	s.rpc.Joiner, s.rpc.Connected = s, s.nodes.connected
	s.rpc.RaftEnded = func(p rpc.Peer) { s.succession.lost(p.Name) }
	s.pool = rpc.NewPool(&rpc.Dialer{Identity: identity, Methods: methods, Logger: cfg.Logger.Named("rpc")})
	s.consensus, err = openConsensus(consensusConfig{
		name: cfg.Name, dir: cfg.DataDir, bootstrap: passport.Genesis != nil, state: s.state, vault: s.vault,
		layer: rpc.NewStreamLayer(s.rpc, raft.ServerAddress(cfg.Name), s.resolve), logger: cfg.Logger.Named("raft"),
	})
	if err != nil {
		return nil, err
	}
	s.loggedMembers = sync.OnceValue(func() map[string]member {
		found, err := membersIn(compactedLog{s.consensus.log}, s.vault)
		if err != nil {
			s.log.Warn("cannot look for the servers' addresses in the log", "error", err)
		}
		return found
	})
	s.succession = s.newSuccession()
	s.proposer = newProposer(s.consensus, s, s.state.WaitIndex)
	s.barrier = &barrier{confirm: s.confirm}
	s.followed = &barrier{confirm: s.confirmFollowed}
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

// Run serves until ctx ends: peers first, then consensus' writes, then terms and the API.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.rpc.Serve(ctx, s.cfg.RPC) })
	g.Go(func() error { return s.proposer.Run(ctx) })
	g.Go(func() error { return s.lead(ctx) })
	g.Go(func() error { return s.succession.Run(ctx) })
	g.Go(func() error { return s.announce(ctx) })
	g.Go(func() error { return s.serveAPI(ctx) })
	if s.audit != nil {
		g.Go(func() error { return s.audit.Write(ctx) })
	}
	g.Go(func() error { return s.trim(ctx) })
	g.Go(func() error { return s.reseal(ctx) })
	g.Go(func() error { return s.serveAdmin(ctx) })
	g.Go(func() error { return s.identity.Run(ctx, s.renewOwn, s.renewed) })
	err := g.Wait()
	_ = s.cfg.API.Close() // whoever was to serve may have been stopped before it began; else it is closed already
	_ = s.cfg.RPC.Close()
	closing := errors.Join(s.pool.Close(), s.consensus.close())
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, closing)
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
	return s.Kubeconfig(user, groups, adminValidity)
}

// Kubeconfig makes a kubeconfig for a user, whose certificate is good for so long.
func (s *Server) Kubeconfig(user string, groups []string, life time.Duration) (pki.Kubeconfig, error) {
	if user == "" || life <= 0 {
		return pki.Kubeconfig{}, errors.New("a kubeconfig needs a user's name and a certificate that is good for some time")
	}
	ca, err := s.meta.ca()
	if err != nil {
		return pki.Kubeconfig{}, err
	}
	pair, err := ca.IssueClient(user, groups, life, s.now())
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
