// Package dns answers the names of a cluster from a proxy's Table and forwards every other question to the
// node's own resolvers.
//
// The main flow: Swap indexes a table (zone.go); a question under the cluster domain is answered from the index
// (answer.go), an address turned around too; what is left goes to the upstreams through a small cache
// (forward.go). A pod's search list is walked here at once (search.go), instead of one round trip a suffix.
//
// The package must not know where a table comes from.
package dns
