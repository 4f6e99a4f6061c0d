package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/peapod-sh/peapod/server/keyring"
)

// sealedFile says under which key all entries are that this server's log has on disk.
const sealedFile = "sealed"

// Re-encryption.
const (
	resealPause = time.Second
	// resealLook is after how many pauses is looked again at what was in order: an older snapshot may have come from another server.
	resealLook = 15
	// resealPatience is for how many pauses a moment is waited for in which nobody writes: only then can a file of the log be given up whole.
	resealPatience = 30
	// serverAskMax bounds what another server is asked about keys.
	serverAskMax = 5 * time.Second
)

// resealer brings what is on this server's disk under the newest key: it writes the snapshots anew and gives up the log before them.
type resealer struct {
	consensus *consensus
	vault     *vault

	key   string // that it works towards
	upTo  uint64 // entries up to here may be under another key; 0: not known yet
	seen  uint64 // last entry of the log a pause ago
	tries int

	done string // everything was under this key
	idle int    // pauses since that was looked at
}

// reseal runs for as long as the server.
func (s *Server) reseal(ctx context.Context) error {
	r := &resealer{consensus: s.consensus, vault: s.vault}
	for {
		select {
		case <-time.After(resealPause):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := r.step(); err != nil && ctx.Err() == nil {
			s.log.Warn("cannot re-encrypt this server's log and snapshots now; will try again", "error", err)
		}
	}
}

// step does what there is to do now.
func (r *resealer) step() error {
	ring, err := r.vault.ring()
	if err != nil || ring == nil {
		return err
	}
	if r.idle++; r.done == ring.Active().ID && r.idle < resealLook {
		return nil
	}
	if done, err := r.finished(ring); done || err != nil {
		return err
	}
	last := r.consensus.raft.LastIndex()
	defer func() { r.seen = last }()
	if r.key != ring.Active().ID { // what the leader sealed a moment ago may still come under the key before
		r.key, r.upTo, r.tries = ring.Active().ID, 0, 0
		return nil
	}
	if r.upTo == 0 {
		r.upTo = last
	}
	clean, err := r.consensus.oldestOnDisk()
	if err != nil {
		return err
	}
	if clean > r.upTo {
		if err := r.consensus.noteSealed(r.key); err != nil {
			return err
		}
		if done, err := r.finished(ring); done || err != nil {
			return err
		}
	}
	if r.tries++; r.seen != last && r.tries%resealPatience != 0 {
		return nil
	}
	return r.consensus.snapshotKeeping(0)
}

// finished says whether there is nothing to do, and remembers it for a while.
func (r *resealer) finished(ring *keyring.Ring) (bool, error) {
	done, err := r.consensus.sealedUnder(ring)
	if r.done = ""; done {
		r.done, r.idle = ring.Active().ID, 0
	}
	return done, err
}

// sealedUnder is the key under which all is that this server has on disk; "" if there is no such key, or not yet.
func (s *Server) sealedUnder() (string, error) {
	ring, err := s.vault.ring()
	if err != nil || ring == nil {
		return "", err
	}
	done, err := s.consensus.sealedUnder(ring)
	if !done {
		return "", err
	}
	return ring.Active().ID, nil
}

// sealedUnder says whether log and snapshots are under the ring's newest key.
func (c *consensus) sealedUnder(ring *keyring.Ring) (bool, error) {
	active := ring.Active()
	if !active.First {
		b, err := os.ReadFile(filepath.Join(c.dir, sealedFile))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return false, fmt.Errorf("reading which key the log is under: %w", err)
		}
		if strings.TrimSpace(string(b)) != active.ID {
			return false, nil
		}
	}
	kept, err := c.snapshots.List()
	if err != nil {
		return false, fmt.Errorf("listing the snapshots: %w", err)
	}
	for _, k := range kept {
		in, err := os.Open(filepath.Join(filepath.Dir(c.dir), "snapshots", k.ID, "state.bin")) // the store's own Open reads all of it first
		if err != nil {
			return false, fmt.Errorf("opening a snapshot: %w", err)
		}
		id, err := keyring.StreamKey(in)
		if err = errors.Join(err, in.Close()); err != nil || id != active.ID {
			return false, err
		}
	}
	return true, nil
}

// noteSealed remembers over restarts that the log is under a key.
func (c *consensus) noteSealed(key string) error {
	if err := os.WriteFile(filepath.Join(c.dir, sealedFile), []byte(key+"\n"), 0o600); err != nil {
		return fmt.Errorf("noting which key the log is under: %w", err)
	}
	return nil
}

// oldestOnDisk is the first entry that the log's files may have, also those that raft has already given up.
func (c *consensus) oldestOnDisk() (uint64, error) {
	files, err := filepath.Glob(filepath.Join(c.dir, "*.wal"))
	if err != nil {
		return 0, fmt.Errorf("looking for the log's files: %w", err)
	}
	oldest := ^uint64(0)
	for _, f := range files {
		var base, id uint64
		if _, err := fmt.Sscanf(filepath.Base(f), "%020d-%016x.wal", &base, &id); err != nil {
			return 0, fmt.Errorf("the log has a file %s: %w", f, err)
		}
		oldest = min(oldest, base)
	}
	return oldest, nil
}
