// Package usage tells what a node and its pods use: processor time, memory, processes. It is what `kubectl top`, a node's
// /stats/summary and its /metrics/resource show, and what eviction goes by.
//
// It must not know: how containers are isolated (runtime.Executor counts), who asks, or what follows from the numbers.
package usage
