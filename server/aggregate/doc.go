// Package aggregate makes API servers of others part of the cluster's API: an APIService says which service answers for a version of a
// group.
//
// A request for such a version has passed authentication and authorisation here when Aggregator sends it on (proxy.go), with the user's
// name in headers and a client certificate that says who put them there, over a node that has an endpoint of the service (backend.go).
// What the service says of itself becomes part of discovery and of the OpenAPI documents (documents.go). The leader asks each service
// whether it answers (available.go), and keeps an APIService for every version that the cluster serves itself (local.go).
//
// The package must not know: storage, Raft, how nodes are reached.
package aggregate
