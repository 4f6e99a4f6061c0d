// Package fsm is the replicated state: what the cluster is, as one deterministic function of the log.
//
// Main flow: Apply decodes a log entry into ops (api/ops), applies them in order under one lock,
// gives every single object change the next revision, and tells the watchers. Readers take a View,
// an immutable picture that costs one tree clone an applied batch at most. Snapshot and Restore
// move the whole state; the same log always gives the same snapshot, byte for byte.
//
// Apply knows no clock, randomness, map order, log level or I/O, and no leader: whoever wants to act
// on changes tails them (Tail) or watches one table (Cursor).
//
// It must not know: raft's roles, HTTP, controllers, or who may write what.
package fsm
