package liveness

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const ms = time.Millisecond

// world is virtual time with nodes that beat every 250 ms while they run.
type world struct {
	ticked  time.Time
	tracker *Tracker
	now     time.Time
	nodes   []*simulated
	quorum  bool
	unasked bool                     // heartbeats are heard, and nobody ticks
	died    map[string]time.Duration // since the start
	history map[string][]Change
}

type simulated struct {
	name    string
	phase   time.Duration // of its heartbeats
	stopped func(at time.Duration) bool
	gossip  func(at time.Duration) State
}

var start = time.Unix(1_000_000, 0)

func newWorld(n int) *world {
	w := &world{tracker: New(Default()), now: start, quorum: true, died: map[string]time.Duration{}, history: map[string][]Change{}}
	for i := range n {
		w.nodes = append(w.nodes, &simulated{name: fmt.Sprintf("n%02d", i), phase: time.Duration(i*37%250) * ms,
			stopped: func(time.Duration) bool { return false }, gossip: func(time.Duration) State { return Alive }})
	}
	return w
}

func (w *world) at() time.Duration { return w.now.Sub(start) }

// run steps a millisecond at a time, and ticks as it is asked to unless the server is paused.
func (w *world) run(until time.Duration, paused func(at time.Duration) bool) {
	byName := map[string]*simulated{}
	for _, n := range w.nodes {
		byName[n.name] = n
	}
	evidence := Evidence{Quorum: w.quorum, Gossip: func(name string) State { return byName[name].gossip(w.at()) }}
	for ; w.at() <= until; w.now = w.now.Add(ms) {
		if paused != nil && paused(w.at()) {
			continue
		}
		for _, n := range w.nodes {
			if w.at()%(250*ms) == n.phase && !n.stopped(w.at()) {
				w.tracker.Heartbeat(n.name, w.now)
			}
		}
		if !w.unasked && w.now.Sub(w.ticked) >= w.tracker.Pace() {
			w.ticked = w.now
			w.record(w.tracker.Tick(w.now, evidence))
		}
	}
}

func (w *world) record(found []Transition) {
	for _, f := range found {
		w.history[f.Node] = append(w.history[f.Node], f.Change)
		if f.Change == Died {
			w.died[f.Node] = w.at()
		}
	}
}

// killed stops a node at a time, and gossip notices as it does.
func (n *simulated) kill(at, suspect, dead time.Duration) {
	n.stopped = func(now time.Duration) bool { return now >= at }
	n.gossip = func(now time.Duration) State {
		switch {
		case now >= at+dead:
			return Dead
		case now >= at+suspect:
			return Suspect
		}
		return Alive
	}
}

func TestKillIsConfirmedInTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.IntRange(1, 20).Draw(t, "nodes"))
		at := time.Duration(rapid.IntRange(2000, 2500).Draw(t, "killed")) * ms
		suspect := time.Duration(rapid.IntRange(100, 700).Draw(t, "suspect")) * ms
		victims := rapid.IntRange(1, min(2, len(w.nodes))).Draw(t, "victims")
		for _, n := range w.nodes[:victims] {
			n.kill(at, suspect, 1600*ms)
		}
		w.run(at+2*time.Second, nil)
		for _, n := range w.nodes[:victims] {
			if took := w.died[n.name] - at; took < 1100*ms || took > 1450*ms {
				t.Fatalf("%s confirmed after %v", n.name, took)
			}
		}
		if len(w.died) != victims {
			t.Fatalf("died %v, killed %d", w.died, victims)
		}
	})
}

func TestMassDeathIsConfirmedOnceTheSecondWitnessSaysSo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.IntRange(3, 30).Draw(t, "nodes"))
		victims := rapid.IntRange(3, len(w.nodes)).Draw(t, "victims")
		w.quorum = rapid.Bool().Draw(t, "quorum")
		at, dead := 2000*ms, time.Duration(rapid.IntRange(1300, 1800).Draw(t, "dead"))*ms
		for _, n := range w.nodes[:victims] {
			n.kill(at, 300*ms, dead)
		}
		w.run(at+4*time.Second, nil)
		if many := victims*4 > len(w.nodes); many && !w.quorum {
			if len(w.died) > 0 {
				t.Fatalf("cut off, yet declared %v", w.died)
			}
			if doubting, _, _ := w.tracker.Doubting(); !doubting {
				t.Fatal("it does not say that it doubts itself")
			}
			return
		}
		for _, n := range w.nodes[:victims] {
			if took := w.died[n.name] - at; took < 1100*ms || took > max(dead, 1450*ms)+25*ms {
				t.Fatalf("%s confirmed after %v, gossip after %v", n.name, took, dead)
			}
		}
	})
}

// Whatever gossip says: who is away for a second or less is not dead.
// Invariant 40.
func TestPauseOfASecondIsNoDeath(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.IntRange(1, 12).Draw(t, "nodes"))
		for _, n := range w.nodes {
			from := time.Duration(rapid.IntRange(500, 3000).Draw(t, "from")) * ms
			until := from + time.Duration(rapid.IntRange(1, 1000).Draw(t, "pause"))*ms
			lie := State(rapid.IntRange(int(Unknown), int(Left)).Draw(t, "gossip"))
			n.stopped = func(at time.Duration) bool { return at >= from && at < until }
			n.gossip = func(time.Duration) State { return lie }
		}
		w.run(5*time.Second, nil)
		if len(w.died) > 0 {
			t.Fatalf("declared %v", w.died)
		}
	})
}

// The server pauses as often and as long as it likes: that is nobody's death, as long as it hears what came in between.
// Invariant 41.
func TestOwnPauseIsNobodysDeath(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.IntRange(1, 2).Draw(t, "nodes"))
		for _, n := range w.nodes {
			n.gossip = func(time.Duration) State { return Dead }
		}
		type span struct{ from, until time.Duration }
		var pauses []span
		at := 500 * ms
		for range rapid.IntRange(1, 4).Draw(t, "pauses") {
			length := time.Duration(rapid.IntRange(100, 5000).Draw(t, "length")) * ms
			pauses = append(pauses, span{at, at + length})
			at += length + 300*ms
		}
		w.run(at+time.Second, func(now time.Duration) bool {
			for _, p := range pauses {
				if now >= p.from && now < p.until {
					return true
				}
			}
			return false
		})
		if len(w.died) > 0 {
			t.Fatalf("declared %v", w.died)
		}
	})
}

// TestAgentThatRestartsInTimeLives: Invariant 40.
func TestAgentThatRestartsInTimeLives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.IntRange(1, 10).Draw(t, "nodes"))
		victim := w.nodes[0]
		at := time.Duration(rapid.IntRange(2000, 2250).Draw(t, "killed")) * ms
		away := time.Duration(rapid.IntRange(1, 2500).Draw(t, "away")) * ms
		victim.kill(at, 200*ms, 1300*ms)
		victim.stopped = func(now time.Duration) bool { return now >= at }
		w.run(at-ms, nil)
		w.tracker.Broken(victim.name, w.now)
		w.run(at+away-ms, nil)
		victim.stopped = func(now time.Duration) bool { return false }
		w.tracker.Reconnected(victim.name, w.now)
		w.run(at+away+time.Second, nil)
		took, died := w.died[victim.name]
		if away <= 1500*ms && died {
			t.Fatalf("back after %v, declared after %v", away, took-at)
		}
		if away >= 1650*ms && (!died || took-at > 1650*ms) {
			t.Fatalf("away for %v, declared %v after %v", away, died, took-at)
		}
		if len(w.died) > 1 || w.tracker.State(victim.name) != Alive {
			t.Fatalf("died %v, in the end %v", w.died, w.tracker.State(victim.name))
		}
	})
}

// Whatever happens, every node's story is (Suspected (Died)? Revived)*.
// Invariant 42.
func TestStoriesAreWellFormed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tracker, now := New(Default()), start
		names := []string{"a", "b", "c", "d", "e"}
		gossip := map[string]State{}
		story := map[string]Change{} // the last one
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			name := rapid.SampledFrom(names).Draw(t, "node")
			now = now.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "ms")) * ms)
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				tracker.Heartbeat(name, now)
			case 1:
				tracker.Broken(name, now)
			case 2:
				tracker.Forget(name)
				delete(story, name)
			case 3:
				gossip[name] = State(rapid.IntRange(0, 4).Draw(t, "gossip"))
			}
			for _, f := range tracker.Tick(now, Evidence{Quorum: rapid.Bool().Draw(t, "quorum"), Gossip: func(n string) State { return gossip[n] }}) {
				last := story[f.Node]
				ok := f.Change == Suspected && (last == 0 || last == Revived) ||
					f.Change == Died && last == Suspected ||
					f.Change == Revived && (last == Suspected || last == Died)
				if !ok {
					t.Fatalf("%s: %v after %v", f.Node, f.Change, last)
				}
				story[f.Node] = f.Change
			}
		}
	})
}

// A leader whose nodes are all silent while gossip still sees most of them holds still.
func TestGossipContradictsTheSilence(t *testing.T) {
	w := newWorld(8)
	for i, n := range w.nodes {
		n.kill(2*time.Second, 200*ms, 1300*ms)
		if i >= 2 {
			n.gossip = func(time.Duration) State { return Alive }
		}
	}
	w.run(6*time.Second, nil)
	if doubting, silent, live := w.tracker.Doubting(); !doubting || silent != 8 || live != 8 || len(w.died) > 0 {
		t.Errorf("doubting %v, silent %d of %d, died %v", doubting, silent, live, w.died)
	}
}

func TestNodeThatNobodyEverHeard(t *testing.T) {
	w := newWorld(4)
	ghost := w.nodes[0]
	ghost.stopped = func(time.Duration) bool { return true }
	ghost.gossip = func(time.Duration) State { return Unknown }
	w.tracker.Expect(ghost.name, start)
	w.run(11*time.Second, nil)
	if at := w.died[ghost.name]; at < 10*time.Second || at > 10100*ms {
		t.Errorf("declared at %v", at)
	}
}

// A new leader hears of a node that it expects as soon as that beats, whether or not it knew it.
func TestExpectedNodeIsNews(t *testing.T) {
	for _, known := range []bool{false, true} {
		tracker := New(Default())
		if known {
			tracker.Heartbeat("n", start)
		}
		tracker.Expect("n", start.Add(ms))
		tracker.Heartbeat("n", start.Add(100*ms))
		tracker.Heartbeat("n", start.Add(350*ms))
		found := tracker.Tick(start.Add(400*ms), Evidence{Quorum: true, Gossip: func(string) State { return Alive }})
		if len(found) != 1 || found[0] != (Transition{"n", Revived}) {
			t.Errorf("known before: %v, told %v", known, found)
		}
	}
}

// TestTimeBetweenTermsIsNoPause: Invariant 155. While nobody asks, as between two terms of a server, heartbeats are heard all the same: who died with the leader in between is dead as
// soon as anybody else would be, and the others live.
func TestTimeBetweenTermsIsNoPause(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.IntRange(2, 6).Draw(t, "nodes"))
		again := time.Duration(rapid.IntRange(5000, 60000).Draw(t, "again")) * ms
		died := again - time.Duration(rapid.IntRange(0, 1300).Draw(t, "before"))*ms
		w.nodes[0].kill(died, 300*ms, 1600*ms)
		w.run(time.Second, nil)
		w.unasked = true
		w.run(again, nil)
		w.unasked = false
		w.tracker.Begin()
		w.run(again+3*time.Second, nil)
		if took := w.died[w.nodes[0].name] - died; took < 1100*ms || took > 1450*ms {
			t.Fatalf("confirmed after %v", took)
		}
		if len(w.died) != 1 {
			t.Fatalf("died %v", w.died)
		}
	})
}

func BenchmarkTick5000(b *testing.B) {
	tracker, now := New(Default()), start
	for i := range 5000 {
		tracker.Heartbeat(fmt.Sprint("node", i), now)
	}
	evidence := Evidence{Quorum: true, Gossip: func(string) State { return Alive }}
	for b.Loop() {
		tracker.Tick(now, evidence)
	}
}
