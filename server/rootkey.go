package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/wire"
	"github.com/peapod-sh/peapod/server/keyring"
)

// foundKeyring gives the cluster a keyring once every server has the root key. So it waits for the last server of an older version,
// which would stop at an entry that is sealed.
func (s *Server) foundKeyring(ctx context.Context) error {
	if _, there := s.state.Meta(metaKeyring); there {
		return nil
	}
	root, err := s.shareRoot(ctx)
	if err != nil {
		return err
	}
	ring, err := keyring.NewRing(root, s.now(), s.passport.Genesis != nil)
	if err != nil {
		return err
	}
	return s.propose(ctx, &ops.PutMeta{Key: metaKeyring, Value: ring.Encode(), IfAbsent: true})
}

// shareRoot sees to it that all servers have the same root key: the one that some of them have, or else a new one.
func (s *Server) shareRoot(ctx context.Context) (*keyring.Root, error) {
	if s.vault.root.Load() == nil {
		if err := s.findRoot(ctx); err != nil {
			return nil, err
		}
	}
	root := s.vault.root.Load()
	secret, id := s.vault.handOut()
	return root, s.askServers(func(name, address string) error {
		var reply wire.RootReply
		if err := s.ask(ctx, name, address, wire.MethodRoot, &wire.RootRequest{Secret: secret}, &reply); err != nil {
			return err
		}
		if reply.ID != id {
			return fmt.Errorf("it has root key %q, and this server %q: give both the same one", reply.ID, id)
		}
		return nil
	})
}

// findRoot takes the root key that another server has, or makes one if all say that they have none.
func (s *Server) findRoot(ctx context.Context) error {
	found := keyring.NewRoot()
	err := s.askServers(func(name, address string) error {
		var reply wire.RootReply
		if err := s.ask(ctx, name, address, wire.MethodRoot, &wire.RootRequest{}, &reply); err != nil {
			return err
		}
		if reply.ID == "" {
			return nil
		}
		theirs, err := keyring.RootOf(reply.Secret)
		if err != nil {
			return fmt.Errorf("it has root key %s and does not hand it out: give it to this server too, with --root-key-file", reply.ID)
		}
		found = theirs
		return nil
	})
	if err != nil {
		return err
	}
	return s.vault.install(found)
}

// rootForServer takes a root key if this server has none, and says which one it has.
func (s *Server) rootForServer(_ context.Context, from rpc.Caller, q *wire.RootRequest) (*wire.RootReply, error) {
	if q.Secret != nil {
		root, err := keyring.RootOf(q.Secret)
		if err != nil {
			return nil, rpc.Errorf(rpc.CodeInvalid, "%v", err)
		}
		if err := s.vault.install(root); err != nil {
			s.log.Error("cannot keep the root key that the leader sent", "from", from.Name, "error", err)
			return nil, rpc.Errorf(rpc.CodeUnavailable, "%v", err)
		}
	}
	secret, id := s.vault.handOut()
	return &wire.RootReply{ID: id, Secret: secret}, nil
}

// askServers calls ask for every other server that votes, and says which of them failed.
func (s *Server) askServers(ask func(name, address string) error) error {
	members, err := s.consensus.members()
	if err != nil {
		return err
	}
	var faults []error
	for _, name := range members {
		if name == s.cfg.Name {
			continue
		}
		address, err := s.addressOf(name)
		if err == nil {
			err = ask(name, address)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("server %s: %w", name, err))
		}
	}
	return errors.Join(faults...)
}

// ask calls another server and does not wait long for one that is gone.
func (s *Server) ask(ctx context.Context, name, address, method string, q, reply any) error {
	ctx, cancel := context.WithTimeout(ctx, serverAskMax)
	defer cancel()
	return s.pool.Call(ctx, name, address, method, q, reply)
}
