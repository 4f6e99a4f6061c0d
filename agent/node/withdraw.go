package node

import (
	"context"

	corev1 "k8s.io/api/core/v1"
)

// promptNodesMax is the number of nodes up to which each tells the servers at once of a table that it has put in force; in larger
// clusters the next heartbeat does, since a change of any service is one for every node.
const promptNodesMax = 64

// withdrawn waits until no node's proxy sends a pod, which is to end, new connections.
func (n *node) withdrawn(ctx context.Context, pod *corev1.Pod) error {
	revision, err := n.model.Left(ctx, pod)
	if err != nil || revision == 0 {
		return err
	}
	return n.link.AwaitTables(ctx, revision)
}

// few says that the cluster is a small one.
func (p *peers) few() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.known) < promptNodesMax
}
