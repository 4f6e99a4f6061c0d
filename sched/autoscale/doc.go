// Package autoscale decides how many pods a workload should have, from what its pods use. It is pure: Decide is given the
// autoscaler, the scale and the pods of its target, what each pod uses and what was decided before, and answers with the number of
// pods, the autoscaler's new status and what people are to be told.
//
// Main flow: every metric proposes a number of pods (replicas.go); the largest counts. It is then held back by what was recommended
// within the stabilization windows, and by how fast the policies allow the number to change (behavior.go).
//
// The rules are Kubernetes' own: a pod without a sample counts as using nothing when more pods are asked for, and as using all that it
// may when fewer are; a pod that is not ready yet, or was not when its sample was taken, never makes the number grow.
//
// It must not know: where samples come from, stores, clocks, or who asks.
package autoscale
