package boot

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/peapod-sh/peapod/agent"
	"github.com/peapod-sh/peapod/agent/node"
	"github.com/peapod-sh/peapod/internal/adminsock"
	"github.com/peapod-sh/peapod/internal/gcpace"
	"github.com/peapod-sh/peapod/internal/version"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/rpc/wire"
	"github.com/peapod-sh/peapod/server"
)

// fleetNodes is how many simulated nodes share a link, and die together if they are told to.
const fleetNodes = 500

// fleets are this process's simulated nodes in groups of fleetNodes, numbered from 0. They do not gossip: what is simulated is load.
type fleets struct {
	p      *process
	config node.FleetConfig // of all; Nodes says how many there are

	mu   sync.Mutex
	stop map[int]context.CancelFunc // of the groups that live
	done sync.WaitGroup
}

func (p *process) runSim(ctx context.Context) error {
	passport, err := p.simPassport(ctx)
	if err != nil {
		return err
	}
	identity, err := passport.Identity()
	if err != nil {
		return err
	}
	f := &fleets{p: p, stop: map[int]context.CancelFunc{}, config: node.FleetConfig{Identity: identity, Nodes: wire.Numbers{First: 1, Last: p.o.Sim},
		Address: netip.MustParseAddr(p.o.Bind), PodsMax: p.o.SimPods, Servers: passport.Servers, Version: version.Version, Logger: p.log.Named("sim")}}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.serveAdmin(ctx, filepath.Join(p.o.DataDir, "sim", adminsock.Name)) })
	defer gcpace.Start(gcpace.Floor(uint64(agent.Memory())))()
	defer f.done.Wait()
	f.live(ctx, 0, f.groups())
	return g.Wait()
}

func (p *process) simPassport(ctx context.Context) (*server.Passport, error) {
	dir := filepath.Join(p.o.DataDir, "sim")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if have, err := server.LoadPassport(dir); have != nil || err != nil {
		return have, err
	}
	return p.join(ctx, dir, pki.Peer{Role: pki.RoleFleet, Name: p.o.Name}, p.o.Join, p.o.Token, "")
}

func (f *fleets) groups() int { return (f.config.Nodes.Last + fleetNodes - 1) / fleetNodes }

// live starts those of the groups from first to below end that do not live.
func (f *fleets) live(ctx context.Context, first, end int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := first; i < min(end, f.groups()); i++ {
		if f.stop[i] != nil {
			continue
		}
		own, cancel := context.WithCancel(ctx)
		f.stop[i] = cancel
		c := f.config
		c.Nodes = wire.Numbers{First: i*fleetNodes + 1, Last: min((i+1)*fleetNodes, f.config.Nodes.Last)}
		f.done.Go(func() {
			if err := node.RunFleet(own, c); err != nil && own.Err() == nil {
				f.p.log.Error("simulated nodes have ended", "error", err)
			}
		})
	}
}

// die ends groups as if their machines had lost power.
func (f *fleets) die(first, end int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := first; i < end; i++ {
		if f.stop[i] != nil {
			f.stop[i]()
			delete(f.stop, i)
		}
	}
}

// serveAdmin lets POST /die?first=0&end=2 and POST /live with the same parameters end and start groups of nodes.
func (f *fleets) serveAdmin(ctx context.Context, path string) error {
	m := http.NewServeMux()
	handle := func(pattern string, do func(first, end int)) {
		m.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			first, err1 := strconv.Atoi(r.FormValue("first"))
			end, err2 := strconv.Atoi(r.FormValue("end"))
			if err1 != nil || err2 != nil || first < 0 || end > f.groups() {
				adminsock.Reply(w, nil, fmt.Errorf("first and end must be numbers of groups, from 0 to %d", f.groups()))
				return
			}
			do(first, end)
			adminsock.Reply(w, map[string]int{"nodes": max(0, end-first) * fleetNodes}, nil)
		})
	}
	handle("POST /die", f.die)
	handle("POST /live", func(first, end int) { f.live(ctx, first, end) })
	return adminsock.Serve(ctx, path, m)
}
