package boot

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/peapod-sh/peapod/agent/node"
	"github.com/peapod-sh/peapod/internal/version"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/server"
)

// runSim runs many simulated nodes, which share an identity and its links. They do not gossip: what is simulated is load.
func (p *process) runSim(ctx context.Context) error {
	passport, err := p.simPassport(ctx)
	if err != nil {
		return err
	}
	identity, err := passport.Identity()
	if err != nil {
		return err
	}
	return node.RunFleet(ctx, node.FleetConfig{Identity: identity, Nodes: p.o.Sim, Address: netip.MustParseAddr(p.o.Bind), PodsMax: p.o.SimPods,
		Servers: passport.Servers, Version: version.Version, Logger: p.log.Named("sim")})
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
