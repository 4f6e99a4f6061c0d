package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"testing"

	"github.com/klauspost/compress/zstd"
	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/api/ops"
)

// quiet is a state that wakes no watchers, and so needs no goroutine that outlives it: a fuzzer makes many.
func quiet() *FSM {
	f := &FSM{notify: &notifier{kick: make(chan struct{}, 1)}, templates: &templateCache{}}
	f.reset()
	return f
}

// seedOps have one op of each kind.
func seedOps() []ops.Op {
	status, _ := (&corev1.PodStatus{Phase: corev1.PodRunning}).Marshal() // of plain fields: always encodes
	return []ops.Op{
		&ops.Put{Resource: configMaps, Object: configMap("a", "1"), Expect: ops.Any},
		&ops.Put{Resource: services, Object: service("s", 30000), Expect: ops.Any},
		&ops.PlanPods{Template: template(), Created: 5, Rows: []ops.PlanRow{{Suffix: "x1", UID: uid(1), Node: "n1"}, {Suffix: "x2", UID: uid(2)}}},
		&ops.BindPods{Now: 6, Rows: []ops.BindRow{{Namespace: "default", Name: "web-x2", Node: "n1"}}},
		&ops.PodStatuses{Rows: []ops.StatusRow{{Namespace: "default", Name: "web-x1", Status: status}}},
		&ops.DeletePods{Now: 7, Rows: []ops.DeleteRow{{Namespace: "default", Name: "web-x1", Grace: 3}}},
		&ops.PutMeta{Key: "k", Value: []byte("v")},
		&ops.Delete{Resource: configMaps, Namespace: "default", Name: "a", Expect: ops.Exists},
	}
}

// written is a state's snapshot.
func written(t testing.TB, f *FSM) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := f.View().WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// checkRestores: a state that was restored from a snapshot writes the same snapshot.
func checkRestores(t *testing.T, f *FSM) {
	t.Helper()
	b := written(t, f)
	g := quiet()
	if err := g.Restore(bytes.NewReader(b)); err != nil {
		t.Fatalf("a snapshot of ours: %v", err)
	}
	if !bytes.Equal(b, written(t, g)) {
		t.Fatal("a restored state writes another snapshot")
	}
}

// FuzzApply: every list of ops that can be decoded can be applied, and what comes of it can be written and restored.
// An agent's ops are in the log before anybody but the decoder has looked at all of their fields.
// Invariants 1 and 2.
func FuzzApply(f *testing.F) {
	all, err := ops.Encode(seedOps())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(all, []byte{})
	for _, op := range seedOps() {
		b, err := ops.Encode([]ops.Op{op})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, all)
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		a, b := quiet(), quiet()
		for i, entry := range [][]byte{first, second} {
			if _, err := ops.Decode(entry); err != nil {
				return
			}
			a.Apply(uint64(i+1), entry)
			b.Apply(uint64(i+1), entry)
		}
		if !bytes.Equal(written(t, a), written(t, b)) {
			t.Fatal("the same log makes two states")
		}
		checkRestores(t, a)
	})
}

// FuzzRestore: the body of a snapshot, under a checksum that fits. It is refused as damaged, or it is a state like any other.
// Invariant 2.
func FuzzRestore(f *testing.F) {
	s := quiet()
	s.ApplyOps(1, seedOps()[:7])
	z, err := zstd.NewReader(bytes.NewReader(written(f, s)))
	if err != nil {
		f.Fatal(err)
	}
	defer z.Close()
	body, err := io.ReadAll(z)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body[len(snapshotMagic) : len(body)-4])
	f.Add([]byte{1, 1, sectionEnd})
	f.Fuzz(func(t *testing.T, body []byte) {
		body = append([]byte(snapshotMagic), body...)
		body = binary.BigEndian.AppendUint32(body, crc32.Checksum(body, castagnoli))
		var b bytes.Buffer
		z, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
		if err == nil {
			_, err = z.Write(body)
		}
		if err := errors.Join(err, z.Close()); err != nil {
			t.Fatal(err)
		}
		g := quiet()
		if err := g.Restore(&b); err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("refused for another reason: %v", err)
			}
			return
		}
		checkRestores(t, g)
	})
}
