package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

const applies = 100

// benchApply makes Deployments of one pod, one after the other, and measures by a watch the time from
// the call that creates one to its pod's phase Running.
func benchApply(ctx context.Context, l *rig.Lab, t *table) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	c, err := l.Client("server1")
	if err != nil {
		return err
	}
	w, err := c.CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer w.Stop()
	var took []time.Duration
	for i := range applies {
		d, err := applyOne(ctx, c, w.ResultChan(), fmt.Sprintf("apply-%d", i))
		if err != nil {
			return err
		}
		took = append(took, d)
	}
	t.below("apply to Running, p50", quantile(took, 0.5), 100, "ms")
	t.below("apply to Running, p99", quantile(took, 0.99), 300, "ms")
	return removeDeployments(ctx, c)
}

func applyOne(ctx context.Context, c kubernetes.Interface, events <-chan watchEvent, name string) (time.Duration, error) {
	began := time.Now()
	if _, err := c.AppsV1().Deployments("default").Create(ctx, rig.Deployment(name, 1), metav1.CreateOptions{}); err != nil {
		return 0, err
	}
	for e := range events {
		p, ok := e.Object.(*corev1.Pod)
		if ok && p.Labels["app"] == name && p.Status.Phase == corev1.PodRunning {
			return time.Since(began), nil
		}
	}
	return 0, fmt.Errorf("the watch ended before %s ran", name)
}

// removeDeployments deletes what a benchmark made and waits until the pods are gone.
func removeDeployments(ctx context.Context, c kubernetes.Interface) error {
	background := metav1.DeletePropagationBackground
	err := c.AppsV1().Deployments("default").DeleteCollection(ctx, metav1.DeleteOptions{PropagationPolicy: &background}, metav1.ListOptions{})
	if err != nil {
		return err
	}
	return rig.Await(ctx, 100*time.Millisecond, "the pods to be gone", func(ctx context.Context) (bool, error) {
		pods, err := c.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		return err == nil && len(pods.Items) == 0, err
	})
}
