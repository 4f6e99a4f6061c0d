package server

import (
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/server/keyring"
)

// replica makes the state a raft.FSM.
type replica struct {
	state *fsm.FSM
	vault *vault
}

var _ raft.BatchingFSM = replica{}

// Apply returns []ops.Result, or errStaleKey.
func (r replica) Apply(l *raft.Log) any {
	entry, err := r.vault.open(l.Data)
	if err != nil {
		return r.unopened(l.Index, err)
	}
	return r.state.Apply(l.Index, entry)
}

// unopened answers for an entry that was sealed by a leader who had not heard that its key is gone. All servers find so, since the keyring is
// part of the state. Any other fault is this server's alone, and it must not go on without the entry.
func (r replica) unopened(index uint64, err error) error {
	if errors.Is(err, keyring.ErrUnknownKey) {
		r.state.Pass(index)
		return errStaleKey
	}
	panic(fmt.Sprintf("server: log entry %d: %v", index, err))
}

// ApplyBatch applies entries in order; the answers are as Apply's, or nil for a change of members.
func (r replica) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	for i, l := range logs {
		if l.Type == raft.LogCommand {
			out[i] = r.Apply(l)
		} else {
			r.state.Pass(l.Index)
		}
	}
	return out
}

// Snapshot takes a picture at once; it is written while applying goes on.
func (r replica) Snapshot() (raft.FSMSnapshot, error) {
	ring, err := r.vault.ring()
	return picture{r.state.View(), ring}, err
}

// Restore replaces the state.
func (r replica) Restore(in io.ReadCloser) error {
	defer in.Close()
	plain, err := r.vault.unseal(in)
	if err != nil {
		return fmt.Errorf("opening a snapshot: %w", err)
	}
	return r.state.Restore(plain)
}

type picture struct {
	view *fsm.View
	ring *keyring.Ring // nil before there is one
}

// Persist writes the picture to raft's sink.
func (p picture) Persist(sink raft.SnapshotSink) error {
	if err := writeSealed(sink, p.view, p.ring); err != nil {
		_ = sink.Cancel() // the write's error is the one to tell
		return err
	}
	return sink.Close()
}

// Release has nothing to free.
func (picture) Release() {}
