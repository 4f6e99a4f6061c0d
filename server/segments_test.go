package server

import (
	"errors"
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

// Invariant 19: what was compacted away must not be read: raft would bring a new server to its state by a log that no longer begins at its beginning.
func TestCompactedEntriesAreGone(t *testing.T) {
	dir := t.TempDir()
	index := &metadb.BoltMetaDB{}
	w, err := wal.Open(dir, wal.WithMetaStore(index), wal.WithSegmentFiler(newSegments(dir)))
	if err != nil {
		t.Fatal(err)
	}
	defer index.Close()
	defer w.Close()
	store := compactedLog{w}
	for i := range uint64(10) {
		if err := store.StoreLog(&raft.Log{Index: i + 1, Term: 1, Data: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.DeleteRange(1, 6); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(12) {
		err := store.GetLog(i, &raft.Log{})
		if want := i < 7 || i > 10; errors.Is(err, raft.ErrLogNotFound) != want {
			t.Errorf("entry %d: %v", i, err)
		}
	}
}
