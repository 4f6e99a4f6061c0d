// Package sched decides where pods run. It is pure: a Table is fed with nodes and pods, and
// Place answers which node each pod of a group of equal pods gets, or why no node will do.
//
// Main flow: a pod's template is boiled down once to a class (what it asks of a node). Place runs
// the class over the dense columns of the table: filters that only look at the node's own
// description are answered once a class and remembered, room and ports are looked at in the
// columns, and the score of every fitting node becomes one packed integer. A heap of those gives
// the nodes; after each placement only the taken node's key is computed again, so a pod costs
// O(log nodes). PlaceOn asks one node only, for pods that may run on no other.
//
// Invariants: the key of a node depends on nothing but the class and that node's own columns (so
// that one fix-up after a placement is enough); no node is given more than its allocatable
// resources; equal inputs in equal order give equal answers.
//
// What the table does not know of (where volumes are) comes in as a Fit: one more predicate of a group, asked
// last.
//
// What looks at several nodes at once (topology spread, affinity between pods) belongs in Place,
// as one heap a domain; what makes room (preemption) belongs after it, on the pods it could not place.
//
// Rebalance plans which pods would be better elsewhere: it takes them out of the table and has them placed again.
//
// It must not know: stores, controllers, clocks, or who asks.
package sched
