// Package api is the vocabulary of Peapod: the table of kinds, and the words in which the other
// packages speak about objects.
//
// A kind is one file: its names, defaulting, validation, printer columns, selectable fields and
// subresources, registered with Register from that file's init. The Go types are Kubernetes' own
// (k8s.io/api); the v1 types are also registered as the internal version, so every conversion is
// the identity.
//
// The package also holds the shapes that state takes on its way through the cluster: PodRecord
// (how the store keeps a pod), Document (how it keeps what is not in the table: custom resources and their definitions)
// and Change (one committed change, as a watcher sees it). The changes
// that writers ask for are in api/ops; how a record keeps a pod's status is in api/podstatus.
//
// To add a kind: one file with its Register call, Default and columns; beside it, if it is long, a
// file with its validation. Give it a good object and a table of bad ones in validation_test.go, its
// full YAML after defaulting in defaults_test.go and its table in columns_test.go; the tests in
// table_test.go then check it like every other (defaulting twice is defaulting once, codecs hand
// objects through, rows have one cell a column).
//
// Validation reports what the official API server would: every fault at once, with its words.
//
// It must not know: Raft, HTTP, disks, nodes, or any package of this module but internal ones.
package api
