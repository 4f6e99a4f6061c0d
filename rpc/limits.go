package rpc

import "time"

const (
	// MaxMessageBytes of one message, encoded. A plan of 10,000 pods is well below 1 MiB; a watch event is one object.
	MaxMessageBytes = 32 << 20
	// maxJoinBytes of a join request or reply: they come before any certificate.
	maxJoinBytes = 64 << 10
	// MaxMethodLength of a method's name.
	MaxMethodLength = 128
	// MaxStreams is how many calls and streams each side of a connection may have open at once.
	MaxStreams = 1024
	// MaxConnections that a server holds at once: 20,000 nodes' and room for reconnecting ones.
	MaxConnections = 32768
	// maxJoining is how many joins a server works on at once; others wait.
	maxJoining = 16
	// pooledBufferMax is the largest buffer that is kept for reuse: a node's batch of statuses, or a batch that a follower forwards.
	pooledBufferMax = 512 << 10
	// raftBacklog is how many accepted Raft connections wait for Raft to take them.
	raftBacklog = 16
)

const (
	// DefaultCallTimeout bounds a call whose context has no deadline.
	DefaultCallTimeout = 30 * time.Second
	// handshakeTimeout bounds the TLS handshake, on both sides.
	handshakeTimeout = 5 * time.Second
	// joinTimeout bounds a join on the server, replication included.
	joinTimeout = 30 * time.Second
	// openTimeout bounds how long an accepted stream may take to say which method it wants.
	openTimeout = 10 * time.Second
	// keepAliveInterval is how often an idle connection is pinged; heartbeats find a dead peer much earlier.
	keepAliveInterval = 15 * time.Second
	// writeTimeout is how long a frame may wait to be written before the connection counts as lost.
	writeTimeout = 10 * time.Second
	// streamCloseTimeout is how long a stream closed here waits for the other side to close it too.
	streamCloseTimeout = 10 * time.Second
	// unackedMax is how long the kernel waits for an acknowledgement before it drops the connection,
	// so that after a cut a new one is dialled instead of waiting for TCP's back-off.
	unackedMax = 3 * time.Second
)

// queueBytes is how much of a stream's queued messages waits for more.
const queueBytes = 32 << 10
