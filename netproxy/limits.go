package netproxy

import "time"

// Limits bounds what a proxy may hold. A zero field takes its default.
type Limits struct {
	// Connections is the greatest number of TCP connections held at once; one more is reset. Default 50,000,
	// or a third of the descriptors the process may open, if that is less. One port holds at most four times as many as are
	// free, so four fifths if it is alone: there is room for others however many clients one has.
	Connections int
	// Sessions is the greatest number of UDP sessions held at once, shared by ports in the same way. At an address that has its
	// share, the session that was silent for longest gives way to a new one. Default 20,000, or a sixth of the descriptors.
	Sessions int
	// ConnectTimeout is the time one endpoint has to answer a dial while another could be tried.
	ConnectTimeout time.Duration
	// ConnectPatience is the time the last endpoint to be tried has to answer.
	ConnectPatience time.Duration
	// SessionIdle is the time after which a silent UDP session is forgotten.
	SessionIdle time.Duration
}

const (
	connectionsMax  = 50_000
	sessionsMax     = 20_000
	connectTimeout  = 500 * time.Millisecond
	connectPatience = 5 * time.Second
	sessionIdle     = 60 * time.Second

	tallyBytes       = 1 << 20                // that a connection carries before its endpoint is told
	loopsMax         = 8                      // more loops than this never paid for a relay
	yieldInterval    = 8 * time.Millisecond   // a little less than Go's monitor thread allows
	briskWait        = 500 * time.Microsecond // after a wait shorter than this a loop expects events soon
	slackWait        = 5 * time.Millisecond   // and does so until a wait is longer than this
	untoldWait       = 100 * time.Millisecond // of which Go's scheduler is not told; its signal ends it after 10 to 20
	yieldTurns       = 4                      // of a loop, before it looks at the clock for that
	attemptsMax      = 5                      // dials for one client connection
	avoidTime        = 2 * time.Second        // an endpoint that failed a dial is passed over this long
	scanInterval     = 100 * time.Millisecond // how late a dial's time-out may be noticed
	sweepInterval    = time.Second            // how late an idle session may be noticed
	affinityMax      = 65_536                 // clients remembered by one port
	crowdShare       = 4                      // times the free room that one port may fill
	listenBacklog    = 4096
	ampleShare       = 4        // this share of all descriptors may go to listeners of which every loop has one
	bufferBytes      = 64 << 10 // the buffer that all connections of a loop share
	pipeBytes        = 1 << 20
	pipesPooled      = 32       // idle pipes kept by a loop
	pipesLent        = 64       // used at once by a loop; a client that never reads holds one for as long as it stays
	spliceAfter      = 4        // large reads before a direction goes to splice
	bulkRead         = 16 << 10 // is a large one: less is cheaper to copy than to splice
	pumpBudget       = 16       // reads before another connection has its turn; a splice counts spliceCost
	spliceCost       = 4
	eventsPerWait    = 256
	keepIdleSeconds  = 300 // clients that vanish are noticed after this and a few probes
	goneIdleSeconds  = 15  // the same for the endpoints that left the table
	goneProbeSeconds = 5
	goneProbes       = 3
	datagramBatch    = 32
	receiveTurns     = 8 // batches read from one socket before another has its turn
	datagramBytes    = 64 << 10
	udpBufferBytes   = 4 << 20
)

// withDefaults fills the fields left zero; files is the number of descriptors that the process may open.
func (l Limits) withDefaults(files uint64) Limits {
	if l.Connections <= 0 {
		l.Connections = min(connectionsMax, max(1, int(min(files, 1<<30)/3)))
	}
	if l.Sessions <= 0 {
		l.Sessions = min(sessionsMax, max(1, int(min(files, 1<<30)/6)))
	}
	if l.ConnectTimeout <= 0 {
		l.ConnectTimeout = connectTimeout
	}
	if l.ConnectPatience <= 0 {
		l.ConnectPatience = connectPatience
	}
	if l.SessionIdle <= 0 {
		l.SessionIdle = sessionIdle
	}
	return l
}
