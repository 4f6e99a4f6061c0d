// Package jobs is `peapod job`: job files run, planned, followed and stopped through the Kubernetes API.
//
// Main flow: a file becomes objects (jobspecs), run applies them server-side as one field manager and
// deletes what the job had and the file no longer has (apply.go), then follows the rollout until every
// group is healthy or one has failed (follow.go). A job is no object of its own: it is what carries the
// label peapod.io/job=NAME, so every other command starts by listing that (owned.go).
//
// It must not know: Raft, nodes, or anything of the server but its public API.
package jobs
