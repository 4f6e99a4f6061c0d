// Package rebalance plans which pods would be better on other nodes, as after nodes have joined. It is pure: New is given the state.
//
// Main flow: of the pods that run, those are movable that somebody would replace without loss (mayMove) and whose budget allows a
// disruption; sched.Table.Rebalance chooses among them. Who carries the plan out evicts the pods, so that their budgets are asked again.
//
// It must not know: clocks, sockets, how pods are evicted, or who asks.
package rebalance
