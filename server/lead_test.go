package server

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestOneTermAtATime: Invariant 14. However leadership comes and goes, and however long a term's work takes to end, the work of two terms
// never overlaps, and the last word of raft is what counts.
func TestOneTermAtATime(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		signals := rapid.SliceOfN(rapid.Bool(), 1, 20).Draw(rt, "leading")
		pauses := rapid.SliceOfN(rapid.IntRange(0, 40), len(signals), len(signals)).Draw(rt, "pauses")
		linger := rapid.IntRange(0, 50).Draw(rt, "linger")
		synctest.Test(t, func(t *testing.T) {
			var running, most, terms atomic.Int32
			work := func(ctx context.Context) {
				terms.Add(1)
				if n := running.Add(1); n > most.Load() {
					most.Store(n)
				}
				<-ctx.Done()
				time.Sleep(time.Duration(linger) * time.Millisecond)
				running.Add(-1)
			}
			leading := make(chan bool, 1)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- inTurn(ctx, leading, work) }()
			for i, yes := range signals {
				tellLatest(leading, yes)
				time.Sleep(time.Duration(pauses[i]) * time.Millisecond)
			}
			time.Sleep(time.Second)
			if last := signals[len(signals)-1]; (running.Load() == 1) != last {
				rt.Errorf("%d terms run after raft said %v", running.Load(), last)
			}
			if signals[len(signals)-1] && terms.Load() == 0 || most.Load() > 1 {
				rt.Errorf("%d terms, %d at once", terms.Load(), most.Load())
			}
			cancel()
			if err := <-done; err == nil || running.Load() != 0 {
				rt.Errorf("it ended with %v and %d terms running", err, running.Load())
			}
		})
	})
}

// TestASecondTermIsAnother: raft tells a server that lost its leadership and won it again before anybody listened only the latter.
func TestASecondTermIsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		terms := 0
		leading := make(chan bool, 1)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- inTurn(ctx, leading, func(ctx context.Context) { terms++; <-ctx.Done() })
		}()
		for range 2 {
			tellLatest(leading, true)
			synctest.Wait()
		}
		cancel()
		if <-done; terms != 2 {
			t.Errorf("%d terms, want 2", terms)
		}
	})
}

// tellLatest does as raft.LeaderCh: what nobody has heard is replaced.
func tellLatest(c chan bool, yes bool) {
	select {
	case c <- yes:
	case <-c:
		c <- yes
	}
}
