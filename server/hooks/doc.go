// Package hooks asks what users have put before admission: mutating and validating webhooks, and policies in CEL.
//
// The flow of a write: the rules of server/kube come first, then mutating policies, mutating webhooks, and, on the object as it would be
// stored, validating policies and validating webhooks. Matching and evaluating are k8s.io/apiserver's; this package gives
// it what is configured, straight from the local state, so that a webhook or policy counts from the write that made it known here
// (table.go, policies.go), parameters of policies, of any kind (parameters.go, customparameters.go), ways to services through the
// cluster's nodes (call.go), and an end to the circle in which a webhook's own pods wait for the webhook (circle.go).
//
// Webhooks are asked by dispatchers of our own (mutate.go, validate.go), which write an object once for all of them (review.go), and are
// held against the library's: whatever is not a plain answer they leave to its client.
//
// What a webhook answers is bounded, not followed elsewhere, and cannot end the process.
//
// The package must not know: storage, Raft, how nodes are reached.
package hooks
