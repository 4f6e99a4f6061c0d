package server

import (
	"fmt"
	"testing"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
)

// A log whose end was taken back, as that of a dead leader is, can be read after each later start.
func TestLogAfterTruncation(t *testing.T) {
	dir := t.TempDir()
	open := func() (*wal.WAL, func()) {
		index := &metadb.BoltMetaDB{}
		l, err := wal.Open(dir, wal.WithMetaStore(index), wal.WithSegmentFiler(newSegments(dir)))
		if err != nil {
			t.Fatal(err)
		}
		return l, func() { l.Close(); index.Close() }
	}
	entry := func(i uint64, term uint64) *raft.Log {
		return &raft.Log{Index: i, Term: term, Data: fmt.Appendf(nil, "%d in term %d", i, term)}
	}
	l, end := open()
	for i := uint64(1); i <= 10; i++ {
		if err := l.StoreLog(entry(i, 1)); err != nil {
			t.Fatal(err)
		}
	}
	last := uint64(10)
	for term := uint64(2); term <= 4; term++ {
		if err := l.DeleteRange(last-2, last); err != nil {
			t.Fatal(err)
		}
		for i := last - 2; i <= last+3; i++ {
			if err := l.StoreLog(entry(i, term)); err != nil {
				t.Fatal(err)
			}
		}
		last += 3
		end()
		l, end = open()
	}
	defer end()
	if got, err := l.LastIndex(); err != nil || got != last {
		t.Fatalf("the last index is %d (%v), want %d", got, err, last)
	}
	for i := uint64(1); i <= last; i++ {
		term := uint64(1)
		if i >= 8 {
			term = min(2+(i-8)/3, 4)
		}
		var got raft.Log
		if err := l.GetLog(i, &got); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		if want := entry(i, term); got.Term != term || string(got.Data) != string(want.Data) {
			t.Errorf("entry %d is %q of term %d, want %q", i, got.Data, got.Term, want.Data)
		}
	}
}
