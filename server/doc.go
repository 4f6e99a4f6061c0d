// Package server is a Raft server of the cluster: it replicates the state (fsm), serves the
// Kubernetes API (server/kube) and the agents (rpc), and while it leads it runs the controllers
// (sched/reconcile) and watches over the nodes.
//
// Main flow: a write becomes ops; Propose batches them into log entries, on the leader straight
// into raft, elsewhere over rpc to the leader; apply makes them state; the leader's term tails the
// state, lets the engine decide, and proposes what it decided. Everything that only a leader does
// is built anew when a term begins and ends with the term's context.
//
// It must not know: how pods are run, how traffic is proxied, or what users type.
package server
