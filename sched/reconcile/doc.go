// Package reconcile is the desired-state arithmetic of every controller, as one pure engine.
//
// Main flow: the leader's runner loads what exists into a fresh engine (load.go), then hands every committed change to Engine.Observe, which keeps an
// indexed model (objects, pods by owner, node, service and namespace, counters by owner) and marks
// what the change may concern as dirty. Engine.Step lets each controller look at its dirty keys and
// returns the ops that bring the cluster closer to what is wanted. The runner commits them,
// observes what they did and steps again, until a step is empty.
//
// Within one step later controllers see what earlier ones decided about pods: a pod that is about
// to be deleted is "doomed" and counts for nobody, a pod on a dead node is not ready. So the
// death of a node, the deletion of its pods, their replacements elsewhere and the new endpoints
// are one step, and one entry of the log.
//
// Invariants: the same observations and step times give the same ops, byte for byte; work is
// proportional to what changed, not to what exists; an object is written at most once a step, and
// only with the revision that the decision was based on.
//
// Who writes what: each file names its controller's kind. A pod's node, owner and existence are
// written by many, always as rows that fail by themselves when the pod is another one by then.
//
// What is only counted is written in proportion to what moves: a status waits a moment after the last one, and events about single
// pods have an allowance (pace.go). Nothing is decided by a written status.
//
// What pods use is an observation too, which the runner makes for autoscalers only (UsageWanted, ObserveUsage).
//
// It must not know: Raft, the store, HTTP, goroutines, clocks (time is an argument of Step), or how
// a node is found dead (NodeDown and NodeUp say so).
package reconcile
