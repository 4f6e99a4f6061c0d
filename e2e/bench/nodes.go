package main

import (
	"context"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

const victimReplicas = 6

// benchNodes kills and cuts off clients in turn and measures when the service knows and when the
// replacements are Ready. The time begins when the command that breaks the node is started.
func benchNodes(ctx context.Context, l *rig.Lab, t *table) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(*kills)*20*time.Second+time.Minute)
	defer cancel()
	_, c, err := l.LeaderClient(ctx)
	if err != nil {
		return err
	}
	if _, err := c.AppsV1().Deployments("default").Create(ctx, rig.Deployment("victim", victimReplicas), metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := c.CoreV1().Services("default").Create(ctx, rig.Service("victim", 0), metav1.CreateOptions{}); err != nil {
		return err
	}
	var out, back []time.Duration
	for i := range *kills {
		o, b, err := breakOne(ctx, l, c, i)
		if err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		out, back = append(out, o), append(back, b)
	}
	t.told(fmt.Sprintf("%d node failures, SIGKILL and cut link in turn: endpoints out, p50", *kills), fmt.Sprintf("%.0f ms", quantile(out, 0.5)))
	t.below("  endpoints out, worst", quantile(out, 1), 2000, "ms")
	t.below("  replacements Ready, p50", quantile(back, 0.5), 2500, "ms")
	t.below("  replacements Ready, p99", quantile(back, 0.99), 4000, "ms")
	if err := c.CoreV1().Services("default").Delete(ctx, "victim", metav1.DeleteOptions{}); err != nil {
		return err
	}
	return removeDeployments(ctx, c)
}

// breakOne breaks the client that has the most pods, measures, and repairs it.
func breakOne(ctx context.Context, l *rig.Lab, c kubernetes.Interface, round int) (out, back time.Duration, err error) {
	if err := rig.AwaitNodes(ctx, c, true, l.Clients()...); err != nil {
		return 0, 0, err
	}
	if err := rig.AwaitReady(ctx, c, "victim", victimReplicas); err != nil {
		return 0, 0, err
	}
	node, old, err := busiest(ctx, c)
	if err != nil {
		return 0, 0, err
	}
	verb, repair := "kill", "restart"
	if round%2 == 1 {
		verb, repair = "cut", "heal"
	}
	began := time.Now()
	if _, err := l.Command(ctx, verb, node); err != nil {
		return 0, 0, err
	}
	err = rig.Await(ctx, 10*time.Millisecond, "the endpoints to go", func(ctx context.Context) (bool, error) {
		list, err := rig.Endpoints(ctx, c, "victim")
		for _, e := range list {
			if e.Node == node {
				return false, err
			}
		}
		return true, err
	})
	if err != nil {
		return 0, 0, err
	}
	out = time.Since(began)
	if err := awaitReplacements(ctx, c, node, old); err != nil {
		return 0, 0, err
	}
	back = time.Since(began)
	fmt.Fprintf(os.Stderr, "  %2d %-4s %s: endpoints out %4d ms, replacements Ready %4d ms\n", round+1, verb, node, out.Milliseconds(), back.Milliseconds())
	_, err = l.Command(ctx, repair, node)
	return out, back, err
}

// busiest is the node with the most victims, and the UIDs of the victims on it.
func busiest(ctx context.Context, c kubernetes.Interface) (string, map[string]bool, error) {
	pods, err := rig.Pods(ctx, c, "victim")
	if err != nil {
		return "", nil, err
	}
	on := map[string][]corev1.Pod{}
	best := ""
	for _, p := range pods {
		on[p.Spec.NodeName] = append(on[p.Spec.NodeName], p)
		if len(on[p.Spec.NodeName]) > len(on[best]) {
			best = p.Spec.NodeName
		}
	}
	return best, rig.UIDs(on[best]), nil
}

// awaitReplacements waits until as many pods as before are Ready, none of them old or on the lost node.
func awaitReplacements(ctx context.Context, c kubernetes.Interface, lost string, old map[string]bool) error {
	return rig.Await(ctx, 10*time.Millisecond, "replacements", func(ctx context.Context) (bool, error) {
		pods, err := rig.Pods(ctx, c, "victim")
		ready := 0
		for i := range pods {
			if rig.Ready(&pods[i]) && pods[i].Spec.NodeName != lost && !old[string(pods[i].UID)] {
				ready++
			}
		}
		return ready >= victimReplicas, err
	})
}
