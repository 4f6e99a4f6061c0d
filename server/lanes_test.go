package server

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Invariant 161: whatever waits, in whatever order it came: each lane keeps its order, nothing is lost or
// doubled, no entry is larger than it may be, and bulk is passed by for so much weight only.
func TestLanes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLanes(1024)
		var want, got [2][]string
		lane := func(w *proposal) int {
			if w.bulk {
				return 1
			}
			return 0
		}
		passed := 0 // the weight of entries in a row that had no bulk although some waited
		for step := range rapid.IntRange(1, 30).Draw(t, "steps") {
			for i := range rapid.IntRange(0, 8).Draw(t, "more") {
				w := &proposal{encoded: []byte(fmt.Sprintf("%d.%d", step, i)), bulk: rapid.Bool().Draw(t, "bulk")}
				name := string(w.encoded)
				w.encoded = append(w.encoded, make([]byte, rapid.SampledFrom([]int{0, 100, entryBytesMax / 2, entryBytesMax}).Draw(t, "size"))...)
				want[lane(w)] = append(want[lane(w)], name)
				if err := l.put(context.Background(), w); err != nil {
					t.Fatal(err)
				}
			}
			waits := len(want[0])+len(want[1])-len(got[0])-len(got[1]) > 0
			if !waits {
				continue
			}
			size, bulk := 0, false
			bulkWaits := len(want[1]) > len(got[1])
			entry := l.collect(context.Background())
			for i, w := range entry {
				if size += len(w.encoded); size > entryBytesMax && i > 0 {
					t.Fatalf("an entry of %d bytes", size)
				}
				got[lane(w)] = append(got[lane(w)], string(trimZeros(w.encoded)))
				bulk = bulk || w.bulk
			}
			if bulk || !bulkWaits {
				passed = 0
			} else if passed >= promptBeforeBulk {
				t.Fatalf("bulk waits, and %d bytes have passed it by", passed)
			} else {
				passed += size
			}
			for i := range want {
				if !slices.Equal(got[i], want[i][:len(got[i])]) {
					t.Fatalf("lane %d: %v, want %v", i, got[i], want[i])
				}
			}
		}
	})
}

func trimZeros(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return b
}

// Invariant 161: a leader's first write overtakes the statuses of all nodes.
func TestPromptOvertakesBulk(t *testing.T) {
	l := newLanes(1024)
	ctx := context.Background()
	for range 500 {
		_ = l.put(ctx, &proposal{encoded: make([]byte, entryBytesMax-10), bulk: true})
	}
	_ = l.collect(ctx)
	_ = l.put(ctx, &proposal{encoded: []byte("first")})
	for range 3 {
		if slices.ContainsFunc(l.collect(ctx), func(w *proposal) bool { return !w.bulk }) {
			return
		}
	}
	t.Error("it waits behind them")
}

// Who waits for a proposal is told when there will be none.
func TestLanesEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if newLanes(1).collect(ctx) != nil {
		t.Error("an entry of nothing")
	}
}
