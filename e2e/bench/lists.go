package main

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

const (
	listedPods = 20_000
	lists      = 20
)

// benchLists lists running pods of simulated nodes. The answers are read and not decoded: the client is not what is measured.
func benchLists(ctx context.Context, l *rig.Lab, t *table) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	leader, c, err := l.LeaderClient(ctx)
	if err != nil {
		return err
	}
	if err := runPods(ctx, c, "listed", listedPods); err != nil {
		return err
	}
	for _, f := range []struct {
		name, mediaType string
		target          float64
	}{{"JSON", jsonType, 250}, {"protobuf", protobufType, 120}} {
		took, bytes, cpu, err := listPods(ctx, l, leader, f.mediaType)
		if err != nil {
			return err
		}
		t.below(fmt.Sprintf("list of 20,000 pods as %s, p50 of %d", f.name, lists), quantile(took, 0.5), f.target, "ms")
		t.told("  the worst, bytes, processor time in the server", fmt.Sprintf("%.0f ms, %.1f MB, %.0f ms", quantile(took, 1), float64(bytes)/1e6, 1e3*cpu))
	}
	return nil
}

// listPods returns times, the length of an answer, and the server's processor seconds for one.
func listPods(ctx context.Context, l *rig.Lab, server, mediaType string) (took []time.Duration, bytes int64, cpu float64, err error) {
	c, err := newWriter(ctx, l, server)
	if err != nil {
		return nil, 0, 0, err
	}
	defer c.conn.Close()
	before, err := usages(l)
	if err != nil {
		return nil, 0, 0, err
	}
	for range lists {
		began := time.Now()
		if bytes, err = c.get("/api/v1/pods", mediaType); err != nil {
			return nil, 0, 0, err
		}
		took = append(took, time.Since(began))
	}
	after, err := usages(l)
	return took, bytes, (after[server].cpuSeconds - before[server].cpuSeconds) / lists, err
}

// podsAtOnce is how many pods are asked for at a time: simulated nodes share one process, which must not fall silent.
const podsAtOnce = 5_000

// runPods makes a Deployment, or makes it larger, and waits until so many pods are reported ready.
func runPods(ctx context.Context, c kubernetes.Interface, name string, n int32) error {
	d, err := c.AppsV1().Deployments("default").Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		d, err = c.AppsV1().Deployments("default").Create(ctx, rig.Deployment(name, 0), metav1.CreateOptions{})
	}
	if err != nil {
		return err
	}
	for have := *d.Spec.Replicas; have < n; {
		have = min(have+podsAtOnce, n)
		scale := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, have)
		if _, err := c.AppsV1().Deployments("default").Patch(ctx, name, types.MergePatchType, scale, metav1.PatchOptions{}); err != nil {
			return err
		}
		if err := awaitReplicas(ctx, c, name, have); err != nil {
			return err
		}
	}
	return nil
}

func awaitReplicas(ctx context.Context, c kubernetes.Interface, name string, n int32) error {
	return rig.Await(ctx, 100*time.Millisecond, fmt.Sprintf("%d ready pods of %s", n, name), func(ctx context.Context) (bool, error) {
		d, err := c.AppsV1().Deployments("default").Get(ctx, name, metav1.GetOptions{})
		return err == nil && d.Status.ReadyReplicas == n, err
	})
}
