package agent

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// withdrawMax is how long a pod's signal to end waits for the nodes to send it no new connections.
const withdrawMax = 2 * time.Second

// withdraw waits until services send a pod that is deleted no new connections: one that comes after the signal would find nobody
// who listens. It takes at most half of what is left of the grace period, since the other half is the pod's own.
func (a *Agent) withdraw(ctx context.Context, pod *corev1.Pod, deadline time.Time) {
	most := min(withdrawMax, time.Until(deadline)/2)
	if a.cfg.Withdrawn == nil || pod.DeletionTimestamp == nil || most <= 0 {
		return
	}
	patience, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	if err := a.cfg.Withdrawn(patience, pod); err != nil && ctx.Err() == nil {
		a.log.Warn("a pod is told to end though a node may still send it new connections", "namespace", pod.Namespace, "pod", pod.Name, "error", err)
	}
}
