package server

import (
	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// segments are the log's files, with a gap in the library closed: when raft takes back the end of a
// log that only a lost leader had seen, the library seals that segment without writing the index by which
// sealed segments are read, and a later start fails with "sealed segment has no index block". Such
// a segment is opened as an unsealed one is after a crash: its index is built by reading it through.
type segments struct{ *segment.Filer }

func newSegments(dir string) segments { return segments{segment.NewFiler(dir, fs.New())} }

// Open opens a sealed segment.
func (s segments) Open(info types.SegmentInfo) (types.SegmentReader, error) {
	if info.IndexStart == 0 {
		return s.RecoverTail(info)
	}
	return s.Filer.Open(info)
}
