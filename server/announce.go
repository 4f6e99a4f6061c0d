package server

import (
	"context"
	"errors"
	"time"

	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/wire"
)

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
