// Package kube is the Kubernetes API façade: it serves the kinds of the table in package api over
// HTTPS, with the handlers of k8s.io/apiserver and a storage of our own over the replicated state.
//
// The flow of a write: the chain (chain.go) authenticates, gives it its turn (flows.go, seats.go) and
// authorises, apiserver decodes and defaults, admission (admission.go) asks the rules, what users have put
// behind them (server/hooks) and the namespace's quotas, registry.Store runs the strategy made
// from api.Kind (strategy.go), and the storage (storage.go) proposes one op with the revision that
// the decision was made on. Reads wait for a barrier unless the client allows old data; lists and
// watches read immutable snapshots and cursors (list.go, watch.go); pods in lists are encoded from their
// records (podlist.go). What a client was promised
// about an old revision (a consistent next page) is made again by undoing the changes since
// (rewind.go), so no snapshot is kept for anybody.
//
// The two requests that come most are answered without apiserver's handlers when they are plain, and with the same bytes: a creation
// (creation.go, with managed fields by creator.go; customcreation.go and customform.go for the custom resources that
// are created often) and a watch (plainwatch.go, below it cork.go).
//
// Behind the table's kinds stands the server of custom resources (customresources.go), whose objects are stored as documents and
// read through its codecs (documents.go). Its controllers call this server's handler without a socket (loopback.go). The server is ready
// for the resources of those definitions that are used (customserving.go).
//
// Pods' log, exec, attach and port-forward go to the pod's node over NodeTransport (stream.go).
// OpenAPI documents are built when asked for and dropped when nobody asks any more (openapi.go). That of version 2 is one of
// everything: it is put together (wholeswagger.go) from the part of each definition, which is built ahead and stays compressed (customswagger.go,
// deflated.go).
//
// The package must not know: Raft, how ops are replicated or applied, the controllers, the node
// agent's insides.
package kube
