package sched

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// Fit says of one node why a group may not go there, for a reason that the table does not know; "" is no objection. It is asked last,
// and must answer the same for the same node while a group is being placed.
type Fit func(*corev1.Node) string

// objection is what the group's own predicate has against a node that everything else accepts.
func (f Fit) objection(n *corev1.Node) string {
	if f == nil {
		return ""
	}
	return f(n)
}

// Unavailable is the sentence for pods that no node takes, whatever it is like, for a cause of their own.
func (t *Table) Unavailable(cause string) string {
	if t.present == 0 {
		return noNodes
	}
	return fmt.Sprintf("0/%d nodes are available: %s. preemption: %s", t.present, cause, complaints{causeNoHelp: t.present}.sentence(t.present))
}
