package gcpace

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestPercent(t *testing.T) {
	for _, c := range []struct {
		live, floor uint64
		since       time.Duration
		want        int
	}{
		{20 << 20, 100 << 20, time.Millisecond, 400},
		{40 << 20, 100 << 20, time.Millisecond, 150},
		{60 << 20, 100 << 20, time.Millisecond, 100},
		{200 << 20, 100 << 20, time.Millisecond, 100},
		{1 << 20, 100 << 20, time.Millisecond, 400},
		{20 << 20, 100 << 20, 4 * time.Second, 400},
		{20 << 20, 100 << 20, 6 * time.Second, 100},
		{0, 100 << 20, time.Millisecond, 100},
		{200 << 20, 100 << 20, 10 * time.Second, 100},
		{200 << 20, 100 << 20, 11 * time.Second, 40},
		{20 << 20, 100 << 20, 2 * time.Minute, 40},
	} {
		if got := percent(c.live, c.floor, c.since); got != c.want {
			t.Errorf("%d MB live, a floor of %d MB, %v since the last: %d, want %d", c.live>>20, c.floor>>20, c.since, got, c.want)
		}
	}
}

func TestFloor(t *testing.T) {
	for memory, want := range map[uint64]uint64{0: 192 << 20, 2 << 30: 192 << 20, 8 << 30: 256 << 20, 24 << 30: 512 << 20} {
		if got := Floor(memory); got != want {
			t.Errorf("of %d MB the heap may have %d, want %d", memory>>20, got>>20, want>>20)
		}
	}
}

// The pace follows collections, and Go's own comes back with stop.
func TestStart(t *testing.T) {
	now := func() int {
		p := debug.SetGCPercent(usual)
		debug.SetGCPercent(p)
		return p
	}
	collectUntil := func(want func(int) bool) int {
		for range 1000 {
			runtime.GC()
			if want(now()) {
				break
			}
			time.Sleep(time.Millisecond)
		}
		return now()
	}
	stop := Start(1 << 30)
	if got := collectUntil(func(p int) bool { return p == most }); got != most {
		t.Errorf("a busy small heap has %d %%, want %d", got, most)
	}
	stop()
	if got := collectUntil(func(p int) bool { return p == usual }); got != usual {
		t.Errorf("after stop it is %d %%, want %d", got, usual)
	}
}

// A burst's memory goes back once, and again only after the next burst.
func TestRestAfterABurst(t *testing.T) {
	settled := 0
	p := &pacer{floor: 1 << 30, set: usual, settle: func() { settled++ }, rest: time.NewTimer(time.Hour)}
	defer p.stop()
	collected := func(after time.Duration) {
		p.last = time.Now().Add(-after)
		p.collected()
	}
	expect := func(when string, times, percent int) {
		t.Helper()
		if settled != times || p.set != percent {
			t.Errorf("%s: gave memory back %d times and has %d %%, want %d and %d", when, settled, p.set, times, percent)
		}
	}
	collected(0)
	expect("in the burst", 0, most)
	p.rested()
	expect("after it", 1, least)
	collected(quiet + time.Second)
	p.rested()
	expect("later", 1, least)
	collected(busy + time.Second)
	p.rested()
	expect("after a single collection", 1, usual)
	collected(0)
	p.rested()
	expect("after the next burst", 2, least)
	p.stop()
	p.rested()
	expect("when stopped", 2, usual)
}
