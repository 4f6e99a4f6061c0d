package server

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// heirs are the followers of a leader, each with its succession, in virtual time. They vote as raft does: the first to campaign wins.
type heirs struct {
	mu        sync.Mutex
	leader    string
	heard     time.Time // the leader's last heartbeat
	term      uint64
	refusing  bool            // the leader's port says that nobody listens
	cut       map[string]bool // servers that reach nobody
	campaigns []string
	election  time.Duration            // that one takes
	earlier   map[string]time.Duration // by which a server heard the last heartbeat before the others
	all       map[string]*succession
}

func newHeirs(t *testing.T, names ...string) *heirs {
	h := &heirs{leader: "a", heard: time.Now(), term: 7, cut: map[string]bool{}, all: map[string]*succession{}}
	members := append([]string{"a"}, names...)
	for _, n := range names {
		h.all[n] = &succession{self: n, ended: make(chan string, 16), heirs: make(chan string, 1),
			part: func() (string, time.Duration, uint64) {
				h.mu.Lock()
				defer h.mu.Unlock()
				return h.leader, time.Since(h.heardBy(n)), h.term
			},
			members: func() ([]string, error) { return append([]string(nil), members...), nil },
			refuses: func(context.Context, string) bool { return h.refusing && !h.cut[n] },
			agrees: func(ctx context.Context, member, name string) bool {
				return !h.cut[n] && !h.cut[member] && h.all[member].asked(ctx, name)
			},
			campaign: func() error {
				h.mu.Lock()
				defer h.mu.Unlock()
				h.campaigns = append(h.campaigns, n)
				h.mu.Unlock()
				time.Sleep(h.election)
				h.mu.Lock()
				h.leader, h.heard, h.term = n, time.Now().Add(time.Hour), h.term+1
				return nil
			}}
	}
	return h
}

// heardBy is when a server last heard the leader: one that is cut off hears nothing.
func (h *heirs) heardBy(name string) time.Time {
	if h.cut[name] {
		return time.Time{}
	}
	return h.heard.Add(-h.earlier[name])
}

func (h *heirs) beat(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(250 * time.Millisecond) {
		h.mu.Lock()
		h.heard = time.Now()
		h.mu.Unlock()
	}
}

// beLate has the leader beat late, each time a little too soon to be succeeded.
func (h *heirs) beLate() {
	for range 5 {
		h.beat(time.Second)
		time.Sleep(550 * time.Millisecond) // and the 250 that a beat is apart from the next
	}
	h.beat(time.Second)
}

// live runs them all, as the world is now.
func (h *heirs) live(t *testing.T) {
	for _, s := range h.all {
		go s.Run(t.Context()) //nolint:errcheck // it ends with the test
	}
}

func (h *heirs) want(t *testing.T, names ...string) {
	t.Helper()
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	if fmt.Sprint(h.campaigns) != fmt.Sprint(names) {
		t.Errorf("campaigns of %v, want %v", h.campaigns, names)
	}
}

// TestSuccession: Invariant 18, and that a dead leader is succeeded.
func TestSuccession(t *testing.T) {
	for name, run := range map[string]func(t *testing.T, h *heirs){
		"a leader that is heard stays": func(t *testing.T, h *heirs) {
			h.live(t)
			h.beat(10 * time.Second)
			h.want(t)
		},
		"a process that ended is succeeded at once": func(t *testing.T, h *heirs) {
			h.refusing = true
			h.live(t)
			h.beat(time.Second)
			for _, s := range h.all {
				s.lost("a")
			}
			time.Sleep(10 * time.Millisecond)
			h.want(t, "b")
		},
		"a connection that ended is no death": func(t *testing.T, h *heirs) {
			h.live(t)
			for range 10 {
				h.beat(time.Second)
				h.all["b"].lost("a")
			}
			h.want(t)
		},
		"the end of a follower is nobody's concern": func(t *testing.T, h *heirs) {
			h.refusing = true
			h.live(t)
			h.all["c"].lost("b")
			h.beat(time.Second)
			h.want(t)
		},
		"a silent leader is succeeded": func(t *testing.T, h *heirs) {
			h.live(t)
			h.beat(time.Second)
			time.Sleep(1200 * time.Millisecond)
			h.want(t, "b")
		},
		"a later heir that notices first does not split the votes": func(t *testing.T, h *heirs) {
			h.election, h.earlier = 80*time.Millisecond, map[string]time.Duration{"c": 100 * time.Millisecond}
			h.live(t)
			h.beat(time.Second)
			time.Sleep(1200 * time.Millisecond)
			h.want(t, "b")
		},
		"a server that is cut off deposes nobody": func(t *testing.T, h *heirs) {
			h.cut["c"] = true
			h.live(t)
			h.beat(10 * time.Second)
			h.want(t)
		},
		"a pause is no death": func(t *testing.T, h *heirs) {
			h.live(t)
			for range 10 {
				h.beat(time.Second)
				time.Sleep(400 * time.Millisecond)
			}
			h.want(t)
		},
		"a leader that was late may be later": func(t *testing.T, h *heirs) {
			h.live(t)
			h.beLate()
			time.Sleep(1300 * time.Millisecond)
			h.want(t)
		},
		"a leader that was late is not waited for for ever": func(t *testing.T, h *heirs) {
			h.live(t)
			h.beLate()
			time.Sleep(2500 * time.Millisecond)
			h.want(t, "b")
		},
		"a leader that was late long ago is as any other": func(t *testing.T, h *heirs) {
			h.live(t)
			h.beLate()
			h.beat(time.Minute)
			time.Sleep(1300 * time.Millisecond)
			h.want(t, "b")
		},
		"a leader that was late and has ended is succeeded at once": func(t *testing.T, h *heirs) {
			h.live(t)
			h.beLate()
			h.refusing = true
			for _, s := range h.all {
				s.lost("a")
			}
			time.Sleep(10 * time.Millisecond)
			h.want(t, "b")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { run(t, newHeirs(t, "b", "c")) })
		})
	}
	t.Run("of five, the third campaigns if the heir before it is lost with the leader", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHeirs(t, "b", "c", "d", "e")
			h.cut["b"] = true
			h.live(t)
			h.beat(time.Second)
			time.Sleep(1500 * time.Millisecond)
			h.want(t, "c")
		})
	})
}
