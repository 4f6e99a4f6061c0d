package main

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

const bulkPods = 10_000

// benchBulk makes one Deployment of many pods on simulated nodes and follows the Deployment's status by a watch.
// Placed is read from a ReplicaSet's status.replicas; the pods are committed with their node in one plan.
func benchBulk(ctx context.Context, l *rig.Lab, t *table) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	_, c, err := l.LeaderClient(ctx)
	if err != nil {
		return err
	}
	w, err := c.AppsV1().Deployments("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer w.Stop()
	began := time.Now()
	if _, err := c.AppsV1().Deployments("default").Create(ctx, rig.Deployment("bulk", bulkPods), metav1.CreateOptions{}); err != nil {
		return err
	}
	var placed, running time.Duration
	for e := range w.ResultChan() {
		created, ready, ok := deploymentCounts(e.Object)
		if !ok {
			continue
		}
		if placed == 0 && created >= bulkPods {
			placed = time.Since(began)
		}
		if ready >= bulkPods {
			running = time.Since(began)
			break
		}
	}
	if running == 0 {
		return fmt.Errorf("the watch ended before %d pods ran: %w", bulkPods, ctx.Err())
	}
	t.below("10,000 pods on 100 simulated nodes created, placed, committed", placed.Seconds(), 1, "s")
	t.below("10,000 pods reported Running", running.Seconds(), 4, "s")
	return nil
}

// deploymentCounts are the created and the ready replicas.
func deploymentCounts(o runtime.Object) (created, ready int32, ok bool) {
	d, ok := o.(*appsv1.Deployment)
	if !ok {
		return 0, 0, false
	}
	return d.Status.Replicas, d.Status.ReadyReplicas, true
}
