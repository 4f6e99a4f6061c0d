package gossip

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"
	"pgregory.net/rapid"
)

var key = bytes.Repeat([]byte{7}, KeyBytes)

func begin(t *testing.T, name string, port int, key []byte, logger hclog.Logger) *Gossip {
	t.Helper()
	g, err := Start(Config{Name: name, Role: "node", Meta: []byte("zone=" + name), BindAddr: "127.0.0.1", BindPort: port, Key: key, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// await reads events until they show what is wanted of a member, and returns the states that it went through.
func await(t *testing.T, g *Gossip, name string, want State) (path []State) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case e := <-g.Events():
			if e.Name != name {
				continue
			}
			path = append(path, e.State)
			if e.State == want {
				return path
			}
		case <-deadline:
			t.Fatalf("%s never saw %s as %v; it went through %v", g.name, name, want, path)
		}
	}
}

func TestLifeOfAMember(t *testing.T) {
	a, b, c := begin(t, "a", 0, key, nil), begin(t, "b", 0, key, nil), begin(t, "c", 0, key, nil)
	for _, g := range []*Gossip{b, c} {
		if err := g.Join([]string{a.Address()}); err != nil {
			t.Fatal(err)
		}
	}
	for _, g := range []*Gossip{a, b} {
		await(t, g, "c", Alive)
	}
	for _, m := range a.Members() {
		if m.Role != "node" || string(m.Meta) != "zone="+m.Name || m.State != Alive {
			t.Errorf("a sees %+v", m)
		}
	}

	killed := time.Now()
	c.Close() // says no goodbye
	for _, g := range []*Gossip{a, b} {
		path := await(t, g, "c", Dead)
		t.Logf("%s saw c as %v, dead after %v", g.name, path, time.Since(killed).Round(time.Millisecond))
		if len(path) != 2 || path[0] != Suspect {
			t.Errorf("%s saw c as %v, want suspect and then dead", g.name, path)
		}
	}

	again := begin(t, "c", 0, key, nil) // another port is another address
	if err := again.Join([]string{b.Address()}); err != nil {
		t.Fatal(err)
	}
	for _, g := range []*Gossip{a, b} {
		await(t, g, "c", Alive)
	}
	if err := again.Leave(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	for _, g := range []*Gossip{a, b} {
		await(t, g, "c", Left)
		if s := g.State("c"); s != Left {
			t.Errorf("%s: %v", g.name, s)
		}
	}
	if s := a.State("nobody"); s != Unknown {
		t.Errorf("nobody is %v", s)
	}
}

func TestRunFindsLostMembersAgain(t *testing.T) {
	a, b := begin(t, "a", 0, key, nil), begin(t, "b", 0, key, nil)
	if err := b.Join([]string{a.Address()}); err != nil {
		t.Fatal(err)
	}
	await(t, a, "b", Alive)
	port := b.transport.address.Port()
	b.Close()
	await(t, a, "b", Dead)
	begin(t, "b", int(port), key, nil) // joins nobody

	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = a.Run(ctx) })
	await(t, a, "b", Alive)
	cancel()
	running.Wait()
}

func TestAnotherKeyStaysOutside(t *testing.T) {
	a, stranger := begin(t, "a", 0, key, nil), begin(t, "x", 0, bytes.Repeat([]byte{8}, KeyBytes), nil)
	if err := stranger.Join([]string{a.Address()}); err == nil || a.State("x") != Unknown {
		t.Errorf("joined with another key: %v, seen as %v", err, a.State("x"))
	}
	if _, err := Start(Config{Name: "y", BindAddr: "127.0.0.1", Key: []byte("short")}); err == nil {
		t.Error("started with a short key")
	}
	if _, err := Start(Config{Name: "y", BindAddr: "127.0.0.1", BindPort: int(a.transport.address.Port()), Key: key}); err == nil {
		t.Error("started at a port that is taken")
	} else {
		t.Log(err)
	}
}

func TestSeedsAreTriedLessAndLess(t *testing.T) {
	r := rejoin{targets: map[string]*target{}}
	r.seed([]string{"a:1", "b:1"})
	now, tries := time.Unix(1000, 0), 0
	for range 120 {
		due := r.due(now, map[string]bool{"b:1": true})
		for _, address := range due {
			if address != "a:1" {
				t.Fatalf("looked for %s, which is there", address)
			}
		}
		tries += len(due)
		now = now.Add(time.Second)
	}
	if tries != 8 { // after 0, 1, 3, 7, 15, 31, 61 and 91 seconds
		t.Errorf("tried %d times in two minutes", tries)
	}
}

// The timeouts that the multipliers give, by memberlist's own formula, stay near the target for every size.
func TestSuspicionDoesNotGrowWithTheCluster(t *testing.T) {
	for n, want := range map[int]int{1: 7, 6: 7, 50: 4, 500: 2, 2000: 2, 20000: 2} {
		if got := suspicionMult(n); got != want {
			t.Errorf("multiplier for %d members is %d, want %d", n, got, want)
		}
	}
}

func TestSlowReaderIsToldThatItMissed(t *testing.T) {
	v := newView()
	for i := range eventBacklog + 10 {
		v.joined(Member{Name: fmt.Sprint(i)})
	}
	for range eventBacklog {
		if e := <-v.events; e.Missed {
			t.Fatal("missed too early")
		}
	}
	v.died("0")
	if e := <-v.events; !e.Missed || e.State != Dead {
		t.Errorf("event %+v, want one that says that others were missed", e)
	}
}

// However claims and callbacks mix: the table's counts are right, the gone are bounded, and a later incarnation wins.
func TestViewInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := newView()
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				v.joined(Member{Name: name})
			case 1:
				v.died(name)
			case 2:
				v.claimed(name, uint32(rapid.IntRange(0, 5).Draw(t, "incarnation")), State(rapid.IntRange(1, 4).Draw(t, "state")))
			case 3:
				v.forget(name)
			}
			dead, living := len(v.list(gone)), len(v.list(func(s State) bool { return !gone(s) }))
			if v.gone != dead || v.alive != living {
				t.Fatalf("counted %d gone and %d alive, there are %d and %d", v.gone, v.alive, dead, living)
			}
			for len(v.events) > 0 {
				<-v.events
			}
		}
		v.joined(Member{Name: "z"})
		v.claimed("z", 3, Suspect)
		v.claimed("z", 2, Alive)
		if v.state("z") != Suspect {
			t.Fatal("an older claim overruled a later one")
		}
		v.claimed("z", 4, Alive)
		if v.state("z") != Alive {
			t.Fatal("a refutation was not heard")
		}
	})
}

func TestSnifferSurvivesGarbage(t *testing.T) {
	s, err := newSniffer(key, func(string, uint32, State) {})
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) { s.message(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")) })
}

func TestLevelsOfMemberlistsLines(t *testing.T) {
	for line, want := range map[string]hclog.Level{
		"[ERR] memberlist: Failed fallback TCP ping: dial tcp": hclog.Debug,
		"[ERR] memberlist: Decrypt packet failed: no key":      hclog.Error,
		"[WARN] memberlist: Refuting a suspect message":        hclog.Debug,
		"[INFO] memberlist: Marking c as failed":               hclog.Info,
		"[DEBUG] memberlist: Stream connection":                hclog.Debug,
	} {
		if level, text := parse(line); level != want || text == line {
			t.Errorf("%q is %v %q, want %v", line, level, text, want)
		}
	}
	var out bytes.Buffer
	w := &logWriter{logger: hclog.New(&hclog.LoggerOptions{Output: &out}), now: func() time.Time { return time.Unix(1000, 0) }}
	for range 10 * noisyLines {
		_, _ = w.Write([]byte("[ERR] memberlist: Decrypt packet failed\n"))
	}
	if got := bytes.Count(out.Bytes(), []byte("\n")); got != noisyLines {
		t.Errorf("%d lines of a flood were passed on, want %d", got, noisyLines)
	}
}

var _ memberlist.EventDelegate = (*watcher)(nil)
