package server

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/internal/adminsock"
	"github.com/peapod-sh/peapod/server/rebalance"
)

// Member describes a server for the operator.
type Member struct {
	Name, Address, API string
	Leader             bool
}

// NewToken is the answer to a request for a join token.
type NewToken struct{ Token string }

// serveAdmin answers the operator on this machine.
func (s *Server) serveAdmin(ctx context.Context) error {
	m := http.NewServeMux()
	m.HandleFunc("POST /tokens", func(w http.ResponseWriter, r *http.Request) {
		ttl, err := time.ParseDuration(r.URL.Query().Get("ttl"))
		if err != nil {
			adminsock.Reply(w, nil, fmt.Errorf("the time to live: %w", err))
			return
		}
		t, err := s.CreateToken(r.Context(), ttl)
		adminsock.Reply(w, NewToken{t}, err)
	})
	m.HandleFunc("GET /tokens", func(w http.ResponseWriter, _ *http.Request) { adminsock.Reply(w, s.Tokens(), nil) })
	m.HandleFunc("DELETE /tokens/{id}", func(w http.ResponseWriter, r *http.Request) {
		adminsock.Reply(w, struct{}{}, s.RevokeToken(r.Context(), r.PathValue("id")))
	})
	m.HandleFunc("GET /raft", func(w http.ResponseWriter, _ *http.Request) {
		members, err := s.Members()
		adminsock.Reply(w, members, err)
	})
	m.HandleFunc("DELETE /raft/{name}", func(w http.ResponseWriter, r *http.Request) {
		adminsock.Reply(w, struct{}{}, s.removeServer(r.Context(), r.PathValue("name")))
	})
	m.HandleFunc("POST /raft/transfer", func(w http.ResponseWriter, _ *http.Request) {
		adminsock.Reply(w, struct{}{}, s.consensus.raft.LeadershipTransfer().Error())
	})
	m.HandleFunc("GET /snapshot", func(w http.ResponseWriter, _ *http.Request) {
		_ = s.writeCopy(w) // a torn copy fails its checksum
	})
	m.HandleFunc("POST /snapshot", func(w http.ResponseWriter, r *http.Request) {
		adminsock.Reply(w, struct{}{}, s.snapshotNow(r.URL.Query().Get("trailing")))
	})
	s.serveKeyring(m)
	m.HandleFunc("GET /doctor", func(w http.ResponseWriter, r *http.Request) { adminsock.Reply(w, s.examine(r.Context()), nil) })
	m.HandleFunc("GET /rebalance", func(w http.ResponseWriter, r *http.Request) {
		plan, err := planMoves(s.state.View(), r)
		adminsock.Reply(w, plan, err)
	})
	m.HandleFunc("GET /kubeconfig", func(w http.ResponseWriter, r *http.Request) {
		groups := strings.FieldsFunc(r.URL.Query().Get("groups"), func(c rune) bool { return c == ',' })
		life, err := time.ParseDuration(r.URL.Query().Get("life"))
		if err != nil {
			adminsock.Reply(w, nil, fmt.Errorf("the certificate's life: %w", err))
			return
		}
		k, err := s.Kubeconfig(r.URL.Query().Get("user"), groups, life)
		if err != nil {
			adminsock.Reply(w, nil, err)
			return
		}
		text, err := k.Encode()
		adminsock.Reply(w, string(text), err)
	})
	return adminsock.Serve(ctx, filepath.Join(s.cfg.DataDir, adminsock.Name), m)
}

// removeServer takes a server's vote away and forgets its addresses, so that nobody dials it any more.
func (s *Server) removeServer(ctx context.Context, name string) error {
	if !s.consensus.Leading() {
		return fmt.Errorf("only the leader can do that: run it on server %q", s.consensus.leader())
	}
	if err := s.consensus.remove(name); err != nil {
		return err
	}
	return s.propose(ctx, &ops.PutMeta{Key: metaServer + name})
}

// Members lists the servers.
func (s *Server) Members() ([]Member, error) {
	names, err := s.consensus.members()
	if err != nil {
		return nil, err
	}
	leader := s.consensus.leader()
	var out []Member
	for _, n := range names {
		at, _ := s.meta.member(n) // not there yet while the server is joining
		out = append(out, Member{Name: n, Address: at.RPC, API: at.API, Leader: n == leader})
	}
	return out, nil
}

// snapshotNow writes a snapshot. trailing, if given, is how many log entries to keep besides: with few,
// a server that was away is brought up to date by the snapshot.
func (s *Server) snapshotNow(trailing string) error {
	if trailing == "" {
		return s.consensus.raft.Snapshot().Error()
	}
	keep, err := strconv.ParseUint(trailing, 10, 64)
	if err != nil {
		return fmt.Errorf("trailing must be a number of log entries: %w", err)
	}
	return s.consensus.snapshotKeeping(keep)
}

// rebalanceMovesMax is how many moves are planned if the operator names no number.
const rebalanceMovesMax = 1000

func planMoves(v *fsm.View, r *http.Request) (*rebalance.Plan, error) {
	most := rebalanceMovesMax
	if text := r.URL.Query().Get("max"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("the number of moves must be 1 or more, not %q", text)
		}
		most = n
	}
	return rebalance.New(v, most), nil
}
