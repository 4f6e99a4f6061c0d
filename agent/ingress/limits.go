package ingress

import "time"

const (
	// clientsMax bounds the connections of clients at one port; more wait in the kernel's queue.
	clientsMax = 20_000
	// headerBytesMax bounds the header of a request, answerHeaderBytesMax that of a response.
	headerBytesMax       = 64 << 10
	answerHeaderBytesMax = 256 << 10
	// headerTimeout is how long a client may take to send a request's header; bodies have no limit but the client's own.
	headerTimeout = 20 * time.Second
	// clientIdle is how long a client's connection may wait for its next request.
	clientIdle = 2 * time.Minute
	// endpointIdle is shorter than what servers commonly grant, so that no request goes out on a connection that is just being closed.
	endpointIdle = 4 * time.Second
	// idlePerEndpoint bounds the idle connections to one endpoint.
	idlePerEndpoint = 64
	// dialTimeout is how long one endpoint may take to accept; then another one has its turn.
	dialTimeout = time.Second
	// handshakeTimeout is how long an endpoint may take to agree on TLS.
	handshakeTimeout = 5 * time.Second
	// keepAlive is how long a connection to an endpoint is silent before the kernel asks whether it is still there.
	keepAlive = 30 * time.Second
	// triesMax bounds the endpoints that are tried for one request.
	triesMax = 4
	// avoidTime is how long an endpoint that could not be reached is passed over.
	avoidTime = 2 * time.Second
	// openPause is how long a port that is taken is left alone.
	openPause = 5 * time.Second
	// closeGrace is what requests under way have when the last ingress goes, leaveGrace when the agent ends: it is to be back before its
	// node is missed.
	closeGrace = 5 * time.Second
	leaveGrace = 300 * time.Millisecond
	// bufferBytes is what a response is copied with.
	bufferBytes = 32 << 10
)
