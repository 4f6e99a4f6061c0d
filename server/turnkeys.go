package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/internal/adminsock"
	"github.com/peapod-sh/peapod/rpc"
	"github.com/peapod-sh/peapod/rpc/wire"
	"github.com/peapod-sh/peapod/server/keyring"
	"github.com/peapod-sh/peapod/server/tokens"
)

// What keys are for.
const (
	keyForDisk   = "disk"
	keyForTokens = "tokens"
)

// KeyInfo describes a key of the cluster's.
type KeyInfo struct {
	ID      string
	For     string    // "disk": logs and snapshots; "tokens": of service accounts
	Created time.Time // zero for those of tokens
	InUse   bool      // it encrypts, or signs
	// Pending are servers that still have something on their disk that is not under the key in use, or that did not answer. Only the key in use
	// for the disk says so.
	Pending []string
}

// serveKeyring answers the operator about keys.
func (s *Server) serveKeyring(m *http.ServeMux) {
	m.HandleFunc("GET /keyring", func(w http.ResponseWriter, r *http.Request) {
		all, err := s.Keys(r.Context())
		adminsock.Reply(w, all, err)
	})
	m.HandleFunc("POST /keyring", func(w http.ResponseWriter, r *http.Request) {
		id, err := s.rotate(r.Context(), r.URL.Query().Get("for"))
		adminsock.Reply(w, id, err)
	})
	m.HandleFunc("DELETE /keyring/{id}", func(w http.ResponseWriter, r *http.Request) {
		adminsock.Reply(w, struct{}{}, s.removeKey(r.Context(), r.PathValue("id")))
	})
}

// writeCopy writes the whole state, sealed as snapshots are.
func (s *Server) writeCopy(w io.Writer) error {
	ring, err := s.vault.ring()
	if err != nil {
		return err
	}
	return writeSealed(w, s.state.View(), ring)
}

// Keys lists the cluster's keys, the oldest first.
func (s *Server) Keys(ctx context.Context) ([]KeyInfo, error) {
	ring, err := s.vault.ring()
	if err != nil {
		return nil, err
	}
	var out []KeyInfo
	if ring != nil {
		for _, k := range ring.Keys() {
			out = append(out, KeyInfo{ID: k.ID, For: keyForDisk, Created: k.Created})
		}
		last := &out[len(out)-1]
		last.InUse, last.Pending = true, s.pending(ctx, last.ID)
	}
	issuer, err := s.tokens()
	if err != nil {
		return nil, err
	}
	for n, id := range slices.Backward(issuer.KeyIDs()) {
		out = append(out, KeyInfo{ID: id, For: keyForTokens, InUse: n == 0})
	}
	return out, nil
}

// pending are the servers that do not say that all they have on disk is under a key.
func (s *Server) pending(ctx context.Context, key string) []string {
	var out []string
	own, err := s.sealedUnder()
	if err != nil || own != key {
		out = append(out, s.cfg.Name)
	}
	_ = s.askServers(func(name, address string) error {
		var reply wire.SealedReply
		if err := s.ask(ctx, name, address, wire.MethodSealed, &wire.Empty{}, &reply); err != nil || reply.Key != key {
			out = append(out, name)
		}
		return nil
	})
	slices.Sort(out)
	return out
}

// sealedForServer tells another server how far this one is.
func (s *Server) sealedForServer(context.Context, rpc.Caller, *wire.Empty) (*wire.SealedReply, error) {
	key, err := s.sealedUnder()
	if err != nil {
		s.log.Warn("cannot tell which key this server's disk is under", "error", err)
	}
	return &wire.SealedReply{Key: key, Applied: s.consensus.raft.AppliedIndex()}, nil
}

// turnKeys lets the leader change keys, one change at a time.
func (s *Server) turnKeys(turn func() error) error {
	if !s.consensus.Leading() {
		return fmt.Errorf("only the leader can do that: run it on server %q", s.consensus.leader())
	}
	s.turning.Lock()
	defer s.turning.Unlock()
	return turn()
}

// rotate makes a new key that is used from now on, and returns its ID.
func (s *Server) rotate(ctx context.Context, purpose string) (id string, err error) {
	switch purpose {
	case keyForDisk:
		err = s.turnKeys(func() error {
			ring, err := s.turnRing(ctx, func(root *keyring.Root, ring *keyring.Ring) (*keyring.Ring, error) { return ring.Add(root, s.now()) })
			if err == nil {
				id = ring.Active().ID
			}
			return err
		})
	case keyForTokens:
		err = s.turnKeys(func() (err error) { id, err = s.rotateTokens(ctx); return err })
	default:
		err = fmt.Errorf("keys are for %s or for %s, not for %q", keyForDisk, keyForTokens, purpose)
	}
	return id, err
}

// turnRing replaces the keyring by what follows from it.
func (s *Server) turnRing(ctx context.Context, next func(*keyring.Root, *keyring.Ring) (*keyring.Ring, error)) (*keyring.Ring, error) {
	ring, err := s.vault.ring()
	if err != nil {
		return nil, err
	}
	if ring == nil {
		return nil, errors.New("there is no keyring yet: see `peapod operator doctor`")
	}
	if ring, err = next(s.vault.root.Load(), ring); err != nil {
		return nil, err
	}
	return ring, s.propose(ctx, &ops.PutMeta{Key: metaKeyring, Value: ring.Encode()})
}

// removeKey forgets a key that nothing is under any more.
func (s *Server) removeKey(ctx context.Context, id string) error {
	return s.turnKeys(func() error {
		issuer, err := s.tokens()
		if err != nil {
			return err
		}
		if slices.Contains(issuer.KeyIDs(), id) {
			return s.removeTokenKey(ctx, issuer, id)
		}
		_, err = s.turnRing(ctx, func(root *keyring.Root, ring *keyring.Ring) (*keyring.Ring, error) {
			next, err := ring.Remove(root, id)
			if err != nil {
				return nil, err
			}
			if late := s.pending(ctx, ring.Active().ID); len(late) > 0 {
				return nil, fmt.Errorf("servers may still have something under it on their disks, or do not answer: %s; "+
					"try again when `peapod operator keyring list` names none", strings.Join(late, ", "))
			}
			return next, nil
		})
		return err
	})
}

// tokenKeys are the keys that sign service accounts' tokens, the one in use first.
func (s *Server) tokenKeys() ([][]byte, error) {
	var keys [][]byte
	b, ok := s.state.Meta(metaTokenKeys)
	if !ok {
		return nil, errNotReady
	}
	return keys, json.Unmarshal(b, &keys)
}

// rotateTokens makes a new key sign the tokens of service accounts; those of the old ones stay good. First every server learns to verify it.
func (s *Server) rotateTokens(ctx context.Context) (string, error) {
	keys, err := s.tokenKeys()
	if err != nil {
		return "", err
	}
	key, err := tokens.NewKey()
	if err != nil {
		return "", err
	}
	if err := s.propose(ctx, &ops.PutMeta{Key: metaTokenKeys, Value: mustJSON(append(slices.Clone(keys), key))}); err != nil {
		return "", err
	}
	if err := s.awaitApplied(ctx, s.consensus.raft.AppliedIndex()); err != nil {
		return "", fmt.Errorf("the new key does not sign yet, since not all servers know it: %w", err)
	}
	if err := s.propose(ctx, &ops.PutMeta{Key: metaTokenKeys, Value: mustJSON(append([][]byte{key}, keys...))}); err != nil {
		return "", err
	}
	issuer, err := s.tokens()
	if err != nil {
		return "", err
	}
	return issuer.KeyIDs()[0], nil
}

// awaitApplied waits until every server's state has an entry of the log.
func (s *Server) awaitApplied(ctx context.Context, index uint64) error {
	return s.askServers(func(name, address string) error {
		for {
			var reply wire.SealedReply
			if err := s.ask(ctx, name, address, wire.MethodSealed, &wire.Empty{}, &reply); err != nil || reply.Applied >= index {
				return err
			}
			select {
			case <-time.After(retryPause):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}

// removeTokenKey makes the tokens of a key worthless. Those without an end are in Secrets, and go first.
func (s *Server) removeTokenKey(ctx context.Context, issuer *tokens.Issuer, id string) error {
	at := slices.Index(issuer.KeyIDs(), id)
	if at == 0 {
		return fmt.Errorf("key %s is the one in use: rotate first", id)
	}
	if named := s.secretsSignedBy(id); len(named) > 0 {
		return fmt.Errorf("the key has signed tokens that never end, of the Secrets %s: delete those first, or their data, and they are made anew", strings.Join(named, ", "))
	}
	keys, err := s.tokenKeys()
	if err != nil {
		return err
	}
	return s.propose(ctx, &ops.PutMeta{Key: metaTokenKeys, Value: mustJSON(slices.Delete(keys, at, at+1))})
}

// secretsNamedMax is how many Secrets an error names.
const secretsNamedMax = 5

func (s *Server) secretsSignedBy(id string) []string {
	var out []string
	s.state.Table(secretsResource).Ascend("", "", func(namespace, name string, obj runtime.Object) bool {
		if by, err := tokens.SignedBy(string(obj.(*corev1.Secret).Data[corev1.ServiceAccountTokenKey])); err == nil && by == id {
			out = append(out, namespace+"/"+name)
		}
		return len(out) < secretsNamedMax
	})
	return out
}
