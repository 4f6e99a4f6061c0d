package main

import (
	"context"
	"fmt"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

// benchLeaders kills the leader again and again while somebody writes through another server, and
// measures from the start of the kill command to the first write that began after it and succeeded.
func benchLeaders(ctx context.Context, l *rig.Lab, t *table) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(*shots)*20*time.Second)
	defer cancel()
	var took []time.Duration
	for i := range *shots {
		d, err := killLeader(ctx, l, i)
		if err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		fmt.Fprintf(os.Stderr, "  %2d leader killed: a write succeeded after %d ms\n", i+1, d.Milliseconds())
		took = append(took, d)
	}
	t.below(fmt.Sprintf("%d leader failures: writes succeed again, p50", *shots), quantile(took, 0.5), 1500, "ms")
	t.told("  the worst", fmt.Sprintf("%.0f ms", quantile(took, 1)))
	return nil
}

func killLeader(ctx context.Context, l *rig.Lab, round int) (time.Duration, error) {
	leader, err := l.Leader(ctx)
	if err != nil {
		return 0, err
	}
	other := ""
	for _, s := range l.Servers() {
		if s != leader {
			other = s
		}
	}
	c, err := l.Client(other)
	if err != nil {
		return 0, err
	}
	maps := c.CoreV1().ConfigMaps("default")
	if _, err := maps.Create(ctx, configMap(fmt.Sprintf("before-%d-%d", time.Now().Unix(), round)), metav1.CreateOptions{}); err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := l.Command(ctx, "kill", leader); err != nil {
		return 0, err
	}
	n := 0
	err = rig.Await(ctx, 5*time.Millisecond, "a write", func(ctx context.Context) (bool, error) {
		n++
		_, err := maps.Create(ctx, configMap(fmt.Sprintf("after-%d-%d-%d", began.Unix(), round, n)), metav1.CreateOptions{})
		return err == nil, err
	})
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	if _, err := l.Command(ctx, "restart", leader); err != nil {
		return 0, err
	}
	return took, awaitMember(ctx, l, leader)
}

// awaitMember waits until a server serves again, so that the next kill leaves a majority.
func awaitMember(ctx context.Context, l *rig.Lab, server string) error {
	c, err := l.Client(server)
	if err != nil {
		return err
	}
	return rig.Await(ctx, 50*time.Millisecond, server+" to serve", func(ctx context.Context) (bool, error) {
		_, err := c.CoreV1().Namespaces().Get(ctx, "default", metav1.GetOptions{})
		return err == nil, err
	})
}
