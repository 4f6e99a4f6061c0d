// Package fence is the arithmetic by which a pod that must not run twice is stopped on one side of a cut before it is
// replaced on the other.
//
// Main flow: a node that runs such pods asks the leader for a lease every Times.Renew. The leader confirms that a majority
// still follows it, notes when the question came (Leases.Grant) and answers; the node counts the lease from when it asked
// (Lease.Renew), and its supervisor kills the pods when the lease ends. A leader that takes a node for dead bars it
// (Leases.Bar): it gives no lease any more and is told when the last one that the node can hold has ended, with the time
// that killing takes and what two clocks may differ by. Only then are the pods removed, and their replacements made.
//
//	node:    asked + Lease on its own clock
//	leader:  max(last question granted, start of the term) + Wait, Wait = ((Lease / (1 - d)) + Margin) * (1 + d)
//
// docs/design/020-fencing.md has the proof.
//
// It must not know: clocks, sockets, Raft, pods.
package fence
