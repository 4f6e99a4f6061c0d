package kube

import "time"

const (
	// requestTimeout bounds every request that is not long-running.
	requestTimeout = 60 * time.Second
	// futureRevisionWait is how long a read waits for a revision that the state has not come to yet.
	futureRevisionWait = 3 * time.Second
	// bookmarkInterval is how often an idle watch that allows bookmarks gets one.
	bookmarkInterval = time.Minute
	// bookmarkLead is how long before the end of a watch it gets its last bookmark.
	bookmarkLead = 2 * time.Second
	// watchTimeoutMin is the shortest life of a watch for which the client names no timeout; the
	// longest is twice that.
	watchTimeoutMin = 30 * time.Minute
	// watchBuffer is the capacity of a watch's channel: some slack between the reader of the log
	// and the writer of the response.
	watchBuffer = 16
	// requestsInFlightMax bounds requests that are not long-running; more get 429.
	requestsInFlightMax = 800
	// requestBodyMax is the largest body: 1 MiB of data in base64 and some metadata fit well.
	requestBodyMax = 3 << 20
	// writeAttemptsMax bounds the retries of a write whose object changes under it.
	writeAttemptsMax = 64
	// defaultAccountWait is how long a pod waits for its namespace's default account, looking every defaultAccountPause.
	defaultAccountWait  = time.Second
	defaultAccountPause = 20 * time.Millisecond
	// allocationAttemptsMax bounds the retries when two servers gave out the same address or port.
	allocationAttemptsMax = 8
	// openAPIKeep is how long a built OpenAPI document stays after its last use.
	openAPIKeep = 2 * time.Minute
	// countedRemainderMax is up to how many objects a list counts what is left after a page.
	countedRemainderMax = 100000
	// streamsPerConnectionMax bounds the HTTP/2 streams of one client connection.
	streamsPerConnectionMax = 1000
	// certCacheAge is how long a verified chain of client certificates is believed, and certCacheMax
	// how many are.
	certCacheAge = time.Minute
	certCacheMax = 4096
	// shutdownGrace is how long Run waits for running requests when it ends.
	shutdownGrace = 2 * time.Second
)
