package main

import (
	"context"
	"fmt"
	"time"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

// memorySettle lets controllers, trimming and the collector finish after the last pod has been reported.
const memorySettle = 75 * time.Second

// benchMemory fills the state with running pods and says what each costs the server that leads, and one that follows.
func benchMemory(ctx context.Context, l *rig.Lab, t *table) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	leader, c, err := l.LeaderClient(ctx)
	if err != nil {
		return err
	}
	empty, err := settledUsages(ctx, l)
	if err != nil {
		return err
	}
	t.told("server with 100 simulated nodes and no pods, RssAnon of leader, follower",
		fmt.Sprintf("%.0f MB, %.0f MB", empty[leader].anon, empty[follower(l, leader)].anon))
	if err := runPods(ctx, c, "memory", 10_000); err != nil {
		return err
	}
	few, err := settledUsages(ctx, l)
	if err != nil {
		return err
	}
	t.told("10,000 running pods: RssAnon of leader and of follower for a pod", perPod(l, leader, empty, few, 10_000))
	n := max(*pods, 10_000)
	began := time.Now()
	if err := runPods(ctx, c, "memory", int32(n)); err != nil {
		return err
	}
	t.told(fmt.Sprintf("from 10,000 to %d pods, all reported Running", n), fmt.Sprintf("%.1f s", time.Since(began).Seconds()))
	many, err := settledUsages(ctx, l)
	if err != nil {
		return err
	}
	t.below(fmt.Sprintf("%d running pods: RssAnon of the leader for a pod", n), 1024*(many[leader].anon-empty[leader].anon)/float64(n), 1.5, "KB")
	t.told("  leader, follower for a pod", perPod(l, leader, empty, many, float64(n)))
	t.told("  leader, follower in all", fmt.Sprintf("%.0f MB, %.0f MB", many[leader].anon, many[follower(l, leader)].anon))
	return nil
}

func perPod(l *rig.Lab, leader string, empty, full map[string]usage, pods float64) string {
	f := follower(l, leader)
	return fmt.Sprintf("%.2f KB, %.2f KB", 1024*(full[leader].anon-empty[leader].anon)/pods, 1024*(full[f].anon-empty[f].anon)/pods)
}

// settledUsages are taken after a pause. Nobody asks the servers to collect: their memory is what an operator would see.
func settledUsages(ctx context.Context, l *rig.Lab) (map[string]usage, error) {
	if err := pause(ctx, memorySettle); err != nil {
		return nil, err
	}
	return usages(l)
}
