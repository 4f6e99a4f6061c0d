// Package jobs is `peapod job`: job files run, planned, followed and stopped through the Kubernetes API.
//
// Main flow: a file becomes objects (jobspecs), run applies them server-side as one field manager and
// deletes what the job had and the file no longer has (apply.go), then follows the rollout until every
// group is healthy or one has failed (follow.go). A job is no object of its own: it is what carries the
// label peapod.io/job=NAME, so every other command starts by listing that (owned.go).
//
// plan asks what would change (plan.go), and then the server what would become of the pods (outlook.go).
//
// It must not know: Raft, nodes, or anything of the server but its public API; the words of a plan are those of server/whatif.go.
package jobs
