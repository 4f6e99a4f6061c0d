// Package liveness decides when a node is dead: its own connection to this server is silent, and gossip agrees.
//
// Main flow: the owner reports what it sees of each node (Heartbeat, Broken, Reconnected) and calls Tick every
// Pace. Tick returns what changed: Suspected (early, cheap to undo), Dead (confirmed), Alive again.
//
//	silent:    now - last heartbeat
//	suspected: silent > 600 ms, or silent > 350 ms and gossip doubts the node
//	dead:      silent >= 1400 ms and gossip doubts the node, and no doubt about ourselves;
//	           after a connection that broke: 1600 ms since then, which an agent has to restart
//
// When more than a quarter of the nodes fall silent at once, the fault is rather here. Then nobody is dead unless
// this server still reaches a majority of the servers, gossip has gone all the way to dead, and gossip contradicts
// the silence of hardly any node. Time in which this process itself did not run is nobody else's silence.
//
// It must not know: clocks, sockets, gossip's library, Raft, or what is done about a dead node. It starts no goroutine;
// the owner serialises the calls.
package liveness
