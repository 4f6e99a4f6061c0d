package kube

import (
	"cmp"
	"time"

	"github.com/peapod-sh/peapod/internal/processors"
)

const (
	// futureRevisionWait is how long a read waits for a revision that the state has not come to yet.
	futureRevisionWait = 3 * time.Second
	// bookmarkInterval is how often a watch that allows bookmarks gets one.
	bookmarkInterval = time.Minute
	// bookmarkLead is how long before the end of a watch it gets its last bookmark.
	bookmarkLead = 2 * time.Second
	// watchTimeoutMin is the shortest life of a watch for which the client names no timeout; the
	// longest is twice that.
	watchTimeoutMin = 30 * time.Minute
	// watchBuffer is the capacity of a watch's channel. The writer of the response sends what it has written when the channel is
	// empty, so a batch of changes becomes one message to the client.
	watchBuffer = 128
	// cutOffGrace is how long a request whose time is over may still write its answer.
	cutOffGrace = 5 * time.Second
	// requestBodyMax is the largest body: 1 MiB of data in base64 and some metadata fit well.
	requestBodyMax = 3 << 20
	// writeAttemptsMax bounds the retries of a write whose object changes under it.
	writeAttemptsMax = 64
	// defaultAccountWait is how long a pod waits for its namespace's default account, looking every defaultAccountPause.
	defaultAccountWait  = time.Second
	defaultAccountPause = 20 * time.Millisecond
	// allocationAttemptsMax bounds the retries when two servers gave out the same address or port.
	allocationAttemptsMax = 8
	// customKeep is how long it stays ready to serve the resources of a definition that nobody asks for, and customIdleMax how many such
	// definitions there may be: to be ready for one takes some 200 KB.
	customKeep    = 5 * time.Minute
	customIdleMax = 64
	// openAPIKeep is how long a built OpenAPI document stays after its last use.
	openAPIKeep = 2 * time.Minute
	// openAPIAhead is how long definitions must not have changed before their documents are built ahead, openAPIPace apart from one another.
	openAPIAhead = time.Second
	openAPIPace  = 10 * time.Millisecond
	// countedRemainderMax is up to how many objects a list counts what is left after a page.
	countedRemainderMax = 100000
	// schemaDepthMax is how deep the schema of a custom resource may be: those that people write have less than 30 levels, and the time to
	// validate one grows with the square of it.
	schemaDepthMax = 200
	// textDepthMax is the same for a definition's text, where a level has up to three brackets.
	textDepthMax = 3*schemaDepthMax + 20
	// streamsPerConnectionMax bounds the HTTP/2 streams of one client connection.
	streamsPerConnectionMax = 1000
	// certCacheAge is how long a verified chain of client certificates is believed, and certCacheMax
	// how many are.
	certCacheAge = time.Minute
	certCacheMax = 4096
	// flowsPerProcessor is how many requests priority and fairness lets in at a time, all levels together, for each processor. Most of them wait for raft,
	// which is fast when many do, or for one of the seats of seats.go; with Kubernetes' 600 on two, one user's had all of a level's.
	flowsPerProcessor = 1000
	// usualObject is how many bytes an object is taken to have when the work of a list is estimated.
	usualObject = 2 << 10
	// answerPerSeat is for how many bytes of an answer a list takes one more seat of its priority level.
	answerPerSeat = 8 << 20
	// seatTurn is how long a request keeps its seat, until it writes the next part of its answer, while another user waits for one.
	seatTurn = 5 * time.Millisecond
	// seatPatience is how long a seat is left to a request that waits for its client while others wait for a seat, and seatTime to any.
	seatPatience = 5 * time.Millisecond
	seatTime     = 500 * time.Millisecond
	// shutdownGrace is how long Run waits for running requests when it ends.
	shutdownGrace = 2 * time.Second
)

// Limits bound what clients may ask of one server at a time; who asks for more gets 429 and comes again. One user may have a part
// of it only, and never more than is left, so that storms leave room for the others. A zero field means its default.
type Limits struct {
	Requests   int           // at once, that are not long-running
	Flows      int           // at once, that priority and fairness lets in, all levels together
	Seats      int           // of these and of those that are exempt there, that use a processor at a time
	Request    time.Duration // for such a request, from its head to the end of its answer
	Conversion time.Duration // for a webhook's answer that converts a custom resource

	Streams        int           // at once: watches, logs, exec and other requests without a deadline
	StreamsPerUser int           // of them
	SlowReader     time.Duration // how long a watch's event waits for a client that does not read, before the watch is ended
}

const (
	defaultRequests       = 1600
	defaultRequest        = 60 * time.Second
	defaultConversion     = 30 * time.Second
	defaultStreams        = 8000
	defaultStreamsPerUser = 2000
	defaultSlowReader     = 30 * time.Second
)

// withDefaults fills what was left zero.
func (l Limits) withDefaults() Limits {
	l.Requests = cmp.Or(l.Requests, defaultRequests)
	l.Seats = cmp.Or(l.Seats, processors.Own())
	l.Flows = cmp.Or(l.Flows, flowsPerProcessor*processors.Own())
	l.Request = cmp.Or(l.Request, defaultRequest)
	l.Conversion = cmp.Or(l.Conversion, defaultConversion)
	l.Streams = cmp.Or(l.Streams, defaultStreams)
	l.StreamsPerUser = cmp.Or(l.StreamsPerUser, defaultStreamsPerUser)
	l.SlowReader = cmp.Or(l.SlowReader, defaultSlowReader)
	return l
}
