package liveness

import (
	"slices"
	"strings"
	"time"
)

// Evidence is what Tick asks beyond the connections. Gossip is called only for nodes that are silent.
type Evidence struct {
	Gossip func(node string) State
	// Quorum says that a majority of the servers, this one included, answered this server in the last second. A lone server
	// passes true.
	Quorum bool
}

// Tracker applies the rule. The zero value is not usable; see New.
type Tracker struct {
	config Config
	nodes  []node         // no order
	index  map[string]int // position in nodes: nodes[index[n]].name == n
	ticked time.Time      // the last Tick, zero before the first
	pace   time.Duration  // from it to the next
	found  []Transition   // since the last Tick

	silent, live int
	doubting     bool
}

// node is what is known of one. last <= now always.
type node struct {
	name   string
	last   time.Time // the last heartbeat, moved forward by our own pauses
	broken time.Time // when the connection broke; zero while it stands
	state  State     // Alive, Suspect or Dead
	// expected: whoever asks does not know that it lives, so its next sign of life is news.
	expected bool
}

// New makes a tracker that knows no node.
func New(config Config) *Tracker {
	return &Tracker{config: config, pace: config.Tick, index: map[string]int{}}
}

// Pace is how long after the last Tick the next one is due.
func (t *Tracker) Pace() time.Duration { return t.pace }

// Heartbeat reports a sign of life. It makes an unknown node known.
func (t *Tracker) Heartbeat(name string, now time.Time) {
	n := t.enter(name, now)
	n.last, n.broken = now, time.Time{}
	if n.state != Alive || n.expected {
		n.state, n.expected = Alive, false
		t.found = append(t.found, Transition{name, Revived})
	}
}

// Reconnected reports a new connection of the node, which is a sign of life.
func (t *Tracker) Reconnected(name string, now time.Time) { t.Heartbeat(name, now) }

// Expect makes a node known from which no heartbeat has come yet: its silence begins now. The next heartbeat of the node is told as
// its revival, also if it was known before: a new leader must hear that a node lives which an earlier one took for dead.
func (t *Tracker) Expect(name string, now time.Time) { t.enter(name, now).expected = true }

// Broken reports that the node's connection ended (RST or EOF): its kernel lives, its agent does not.
func (t *Tracker) Broken(name string, now time.Time) {
	if i, known := t.index[name]; known && t.nodes[i].broken.IsZero() {
		t.nodes[i].broken = now
	}
}

// Forget removes a node that is no longer part of the cluster.
func (t *Tracker) Forget(name string) {
	i, known := t.index[name]
	if !known {
		return
	}
	end := len(t.nodes) - 1
	t.nodes[i] = t.nodes[end]
	t.index[t.nodes[i].name] = i
	t.nodes[end] = node{}
	t.nodes = t.nodes[:end]
	delete(t.index, name)
	t.found = slices.DeleteFunc(t.found, func(f Transition) bool { return f.Node == name })
}

// State is what this tracker thinks of a node: Unknown, Alive, Suspect or Dead.
func (t *Tracker) State(name string) State {
	if i, known := t.index[name]; known {
		return t.nodes[i].state
	}
	return Unknown
}

// Last is when a sign of life of the node came, moved forward by our own pauses.
func (t *Tracker) Last(name string) (time.Time, bool) {
	i, known := t.index[name]
	if !known {
		return time.Time{}, false
	}
	return t.nodes[i].last, true
}

// Doubting says whether the last Tick doubted this server rather than its nodes, and of how many live nodes how many were silent.
// It deserves a loud line in the log.
func (t *Tracker) Doubting() (doubting bool, silent, live int) { return t.doubting, t.silent, t.live }

// Begin says that Tick is called from now on, and was not for a while because nobody asked: that was no pause of ours, so whoever was
// silent all the while was silent.
func (t *Tracker) Begin() { t.ticked = time.Time{} }

func (t *Tracker) enter(name string, now time.Time) *node {
	i, known := t.index[name]
	if !known {
		i = len(t.nodes)
		t.nodes = append(t.nodes, node{name: name, last: now, state: Alive})
		t.index[name] = i
	}
	return &t.nodes[i]
}

// Tick applies the rule and returns what has changed since the last Tick: revivals in their order, then the rest by name.
func (t *Tracker) Tick(now time.Time, evidence Evidence) []Transition {
	t.forgiveStall(now)
	t.ticked = now
	doubtless := t.doubtSelf(now, evidence)
	from := len(t.found)
	t.pace = t.config.CalmTick
	for i := range t.nodes {
		n := &t.nodes[i]
		t.judge(n, now, evidence, doubtless)
		if n.state != Dead {
			t.pace = min(t.pace, max(t.config.Tick, t.config.Calm-now.Sub(n.last)))
		}
	}
	found := t.found
	t.found = nil
	slices.SortStableFunc(found[from:], func(a, b Transition) int { return strings.Compare(a.Node, b.Node) })
	return found
}

// forgiveStall moves everybody's last sign of life forward by the time in which we did not look.
func (t *Tracker) forgiveStall(now time.Time) {
	if t.ticked.IsZero() {
		return
	}
	stall := now.Sub(t.ticked) - t.pace
	if stall <= t.config.StallMax {
		return
	}
	for i := range t.nodes {
		n := &t.nodes[i]
		n.last = earlier(n.last.Add(stall), now)
		if !n.broken.IsZero() {
			n.broken = earlier(n.broken.Add(stall), now)
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// doubtSelf counts the silent and returns the doubt that gossip must have of a node for it to be dead: any, or all the way
// to Dead, or none suffices.
func (t *Tracker) doubtSelf(now time.Time, evidence Evidence) func(State) bool {
	silent, live, contradicted := 0, 0, 0
	for i := range t.nodes {
		n := &t.nodes[i]
		if n.state == Dead {
			continue
		}
		live++
		if now.Sub(n.last) <= t.config.Suspect {
			continue
		}
		silent++
		if evidence.Gossip(n.name) == Alive {
			contradicted++
		}
	}
	t.silent, t.live = silent, live
	many := silent > t.config.GuardNodes && silent*t.config.GuardShare > live
	t.doubting = many && (!evidence.Quorum || contradicted*t.config.GuardShare > silent)
	switch {
	case t.doubting:
		return func(State) bool { return false }
	case many:
		return func(s State) bool { return s == Dead || s == Left }
	}
	return State.doubted
}

// judge applies the rule to one node.
func (t *Tracker) judge(n *node, now time.Time, evidence Evidence, convinces func(State) bool) {
	silence := now.Sub(n.last)
	if n.state == Dead || silence <= t.config.SuspectDoubted {
		return
	}
	gossip := evidence.Gossip(n.name)
	if n.state == Alive && (silence > t.config.Suspect || gossip.doubted()) {
		n.state = Suspect
		t.found = append(t.found, Transition{n.name, Suspected})
	}
	if t.overdue(n, now) && (convinces(gossip) || t.strange(gossip, silence)) {
		n.state = Dead
		t.found = append(t.found, Transition{n.name, Died})
	}
}

func (t *Tracker) overdue(n *node, now time.Time) bool {
	if n.broken.IsZero() {
		return now.Sub(n.last) >= t.config.Confirm
	}
	return now.Sub(n.broken) >= t.config.Restart
}

// strange is a node that gossip does not know and that has not been heard of for long: one that died while all servers were down.
func (t *Tracker) strange(gossip State, silence time.Duration) bool {
	return !t.doubting && gossip == Unknown && silence >= t.config.Unknown
}
