// Package dns answers the names of a cluster from a proxy's Table and forwards every other question to the
// node's own resolvers, or to those of a stub domain.
//
// The main flow: Swap indexes a table (zone.go). A loop a core reads datagrams by the batch (batch.go, datagram.go) and answers
// those that were asked before from packed answers, which it forgets with the table (wire.go). Another question is
// decided (lookup.go): a name under the cluster domain from the index (answer.go, ports.go), an address turned around too; what is
// left goes to the upstreams (upstream.go) through a small cache (forward.go). A pod's search list is walked here at once
// (search.go), instead of one round trip a suffix. Only a question that waits for an upstream has a goroutine, and there
// are not more than limits.go says, so upstreams that are silent hold up nobody who asks for a name of the cluster.
//
// The package must not know where a table comes from.
package dns
