// Package sched decides where pods run. It is pure: a Table is fed with nodes and pods, and
// Place answers which node each pod of a group of equal pods gets, or why no node will do.
//
// Main flow: a pod's template is boiled down once to a class (what it asks of a node and of its neighbours). Place
// begins a round: what only the node's own description answers is remembered for all classes that ask it alike, and a
// node's change changes its own answers only; room is looked at in rows of one cache line a node, and the score of every
// fitting node becomes one packed integer. A heap of those gives the nodes; after each placement only the taken node's key
// is computed again, so a pod costs O(log nodes). A small group does not look at all nodes: blocks of them know their best key for
// the sizes of pods that come again (tops.go), and are made anew where rows have changed. PlaceOn asks one node only, for pods that may run on no other.
//
// What looks at other pods (topology spread, affinity) is factors: counts by domain that the round's own placements change.
// They part the nodes into cells for which they all say the same; each cell has a heap, and for every pod it is asked anew
// which cells are open and what being there is worth. The counts come from censuses, one for each thing that some pod asks
// for, kept as pods come and go: no pod is looked at twice.
//
// Preempt makes room for what Place could not place: it thinks less important pods away, lets as many as possible stay, and
// keeps the room that the others will leave.
//
// Invariants: within a cell, the key of a node depends on nothing but the class and that node's own row (so that one fix-up
// after a placement is enough); no node is given more than its allocatable resources; equal inputs in equal order give equal
// answers.
//
// What the table does not know of (where volumes are) comes in as a Fit: one more predicate of a group, asked
// last. So do budgets and the pods of a node, when somebody has to go.
//
// Rebalance plans which pods would be better elsewhere: it takes them out of the table and has them placed again.
//
// Whoever has something of his own for each pod keeps its Place there (keep.go): then the table has no index of pods, and looks up none.
//
// It must not know: stores, controllers, clocks, or who asks.
package sched
