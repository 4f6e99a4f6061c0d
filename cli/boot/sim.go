package boot

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/peapod-sh/peapod/agent/node"
	"github.com/peapod-sh/peapod/internal/version"
	"github.com/peapod-sh/peapod/rpc/pki"
	"github.com/peapod-sh/peapod/server"
)

// simJoinsAtOnce bounds how many simulated nodes join at the same time.
const simJoinsAtOnce = 16

// runSim runs many simulated nodes, each with an identity and links of its own. They do not gossip: what
// is simulated is load.
func (p *process) runSim(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	joining := make(chan struct{}, simJoinsAtOnce)
	for i := range p.o.Sim {
		g.Go(func() error {
			joining <- struct{}{}
			passport, err := p.simPassport(ctx, fmt.Sprintf("%s-%d", p.o.Name, i+1))
			<-joining
			if err != nil {
				return err
			}
			identity, err := passport.Identity()
			if err != nil {
				return err
			}
			return node.RunSim(ctx, node.SimConfig{Name: identity.Peer().Name, Address: netip.MustParseAddr(p.o.Bind), PodsMax: p.o.SimPods,
				Identity: identity, Servers: passport.Servers, Version: version.Version, Logger: p.log.Named(identity.Peer().Name)})
		})
	}
	return g.Wait()
}

func (p *process) simPassport(ctx context.Context, name string) (*server.Passport, error) {
	dir := filepath.Join(p.o.DataDir, "sim", name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if have, err := server.LoadPassport(dir); have != nil || err != nil {
		return have, err
	}
	return p.join(ctx, dir, pki.Peer{Role: pki.RoleNode, Name: name}, p.o.Join, p.o.Token, "")
}
