package server

import (
	"io"

	"github.com/hashicorp/raft"

	"github.com/peapod-sh/peapod/fsm"
)

// replica makes the state a raft.FSM.
type replica struct{ state *fsm.FSM }

var _ raft.BatchingFSM = replica{}

// Apply returns []ops.Result.
func (r replica) Apply(l *raft.Log) any { return r.state.Apply(l.Index, l.Data) }

// ApplyBatch applies entries in order; the answers are []ops.Result each, or nil for a change of members.
func (r replica) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	for i, l := range logs {
		if l.Type == raft.LogCommand {
			out[i] = r.state.Apply(l.Index, l.Data)
		}
	}
	return out
}

// Snapshot takes a picture at once; it is written while applying goes on.
func (r replica) Snapshot() (raft.FSMSnapshot, error) { return picture{r.state.View()}, nil }

// Restore replaces the state.
func (r replica) Restore(in io.ReadCloser) error {
	defer in.Close()
	return r.state.Restore(in)
}

type picture struct{ view *fsm.View }

// Persist writes the picture to raft's sink.
func (p picture) Persist(sink raft.SnapshotSink) error {
	if _, err := p.view.WriteTo(sink); err != nil {
		_ = sink.Cancel() // the write's error is the one to tell
		return err
	}
	return sink.Close()
}

// Release has nothing to free.
func (picture) Release() {}
