package server

import (
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// compactedLog is the log, with a gap in the library closed: entries that were deleted from the front of the log's
// newest segment can still be read until the next start.
type compactedLog struct{ *wal.WAL }

// GetLog reads an entry. Error: raft.ErrLogNotFound.
func (l compactedLog) GetLog(index uint64, log *raft.Log) error {
	first, err := l.FirstIndex()
	if err != nil {
		return err
	}
	if index < first {
		return raft.ErrLogNotFound
	}
	return l.WAL.GetLog(index, log)
}
