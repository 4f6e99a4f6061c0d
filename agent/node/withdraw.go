package node

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// promptNodesMax is the number of nodes up to which each tells the servers at once of a table that it has put in force; in larger
// clusters the next heartbeat does, since a change of any service is one for every node.
const promptNodesMax = 64

// settleTime is for the connections that were sent to a pod last: many servers drop what they have accepted and not read when they are
// told to end.
const settleTime = 100 * time.Millisecond

// withdrawn waits until no node's proxy sends a pod, which is to end, new connections, and until the pod has taken those it was sent.
func (n *node) withdrawn(ctx context.Context, pod *corev1.Pod) error {
	revision, err := n.model.Left(ctx, pod)
	if err != nil || revision == 0 {
		return err
	}
	if err := n.link.AwaitTables(ctx, revision); err != nil {
		return err
	}
	select {
	case <-time.After(settleTime):
	case <-ctx.Done(): // there was no more time to give
	}
	return nil
}

// few says that the cluster is a small one.
func (p *peers) few() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.known) < promptNodesMax
}
