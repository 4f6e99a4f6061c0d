package link

import "time"

const (
	// HeartbeatInterval is how often the node shows every server that it lives.
	HeartbeatInterval = 250 * time.Millisecond
	// tablePause gathers what follows a new table of services in a row before the servers are told of the last.
	tablePause = 20 * time.Millisecond
	// silenceMax is how long a server may leave heartbeats unanswered before this node goes to another one that answers, and
	// silenceEnd before its connection is given up. They are apart since a server that is late has too much to do: new connections, from
	// every node, are what it needs least.
	silenceMax = 1500 * time.Millisecond
	silenceEnd = 6 * time.Second
	// quietMax is how long a server may leave them unanswered before a watch leaves it, if it led and another leads by now.
	quietMax = 2 * HeartbeatInterval
	// stallMax is how late this process may be itself before the rest is nobody's silence.
	stallMax = 100 * time.Millisecond
	// redialMin and redialMax bound the pause between attempts to reach a server.
	redialMin = 50 * time.Millisecond
	redialMax = time.Second
	// callTimeout bounds one call whose caller set no deadline.
	callTimeout = 10 * time.Second
	// retryPause is how long a failed call waits before it tries another server.
	retryPause = 50 * time.Millisecond
	// staleCheck and staleStrikes: a watch leaves a server that has not known a leader for that long.
	staleCheck   = 500 * time.Millisecond
	staleStrikes = 3
	// dialTimeout bounds one attempt to reach a server.
	dialTimeout = 2 * time.Second
)
