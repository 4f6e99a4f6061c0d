package liveness

import "time"

// Config is the rule's numbers. They were measured together; see Default.
type Config struct {
	// Tick is how often Tick is called while a node has been silent for Calm, which is longer than heartbeats are apart. Otherwise it is
	// called when one could have been, and at least every CalmTick: see Pace.
	Tick, Calm, CalmTick time.Duration
	// StallMax is how much later a tick may come than asked for before the rest counts as our own pause.
	StallMax time.Duration
	// Suspect is the silence after which a node is suspected whatever gossip says, SuspectDoubted if gossip doubts it too.
	Suspect, SuspectDoubted time.Duration
	// Confirm is the silence after which gossip's doubt makes a node dead. Greater than a heartbeat's interval plus the longest
	// pause that is no death.
	Confirm time.Duration
	// Restart is what an agent has after its connection broke (its kernel lives, so maybe it restarts).
	Restart time.Duration
	// Unknown is the silence after which a node is dead of which gossip has never heard.
	Unknown time.Duration
	// GuardNodes and GuardShare: this server doubts itself if more than GuardNodes nodes and more than 1/GuardShare of the
	// live ones are silent.
	GuardNodes, GuardShare int
}

// Default is the rule as measured: a killed node confirmed 1.2 to 1.4 s after its death, no pause of 1 s taken for one.
// Heartbeats come every 250 ms.
func Default() Config {
	return Config{
		Tick:           25 * time.Millisecond,
		Calm:           300 * time.Millisecond,
		CalmTick:       200 * time.Millisecond,
		StallMax:       75 * time.Millisecond,
		Suspect:        600 * time.Millisecond,
		SuspectDoubted: 350 * time.Millisecond,
		Confirm:        1400 * time.Millisecond,
		Restart:        1600 * time.Millisecond,
		Unknown:        10 * time.Second,
		GuardNodes:     2,
		GuardShare:     4,
	}
}
