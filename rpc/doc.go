// Package rpc is how agents and servers speak: one TCP port, told apart by ALPN, mutual TLS 1.3 on every hop.
//
//	rpc    calls and streams of msgpack over a multiplexed connection, on which both sides may call
//	raft   Raft's own connections, by StreamLayer
//	join   one request for a first certificate, authorised by a token
//
// Main flow: a node's Dialer.Dial reaches Server.Serve; both ends get a Conn that knows its Peer (role and name from the
// certificate, never the address). Conn.Call and Conn.Open reach the Methods of the other side, so a server calls a node
// back over the connection that the node dialled. A connection's end ends all its streams and cancels its handlers at once.
//
// Messages are msgpack structs written as arrays: a field added at the end is ignored by older readers.
// Errors cross as a sentence and a Code.
//
// It must not know: what the methods mean, what is in the messages, where the servers are, or which tokens are valid.
package rpc
