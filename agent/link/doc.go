// Package link ties a node agent to the cluster's servers.
//
// Main flow: one keeper a server dials it, and keeps dialling; on each connection it sends a heartbeat
// every interval and hears who leads and which servers there are, so that a new server gets a keeper
// and the node is known to be alive wherever the leader may be next. Everything else (register, watch,
// reads, writes) goes over one of these connections, the leader's where there is one. Over all of them
// a server may call the node's HTTP handler back.
//
// It must not know: what a pod is, or what the node does with what it hears.
package link
