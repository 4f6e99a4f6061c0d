package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

const (
	readsPerSecond = 1000
	readsFor       = 10 * time.Second
	readersMax     = 64 // connections; an open loop needs as many as requests are under way
	readPath       = "/api/v1/namespaces/default/configmaps/read"
)

// benchReads reads one object at a fixed rate, whether or not earlier answers have come. Each read is linearizable: the
// server asks a quorum whether it still leads. A read's time begins when it is due.
func benchReads(ctx context.Context, l *rig.Lab, t *table) error {
	leader, c, err := l.LeaderClient(ctx)
	if err != nil {
		return err
	}
	if _, err := c.CoreV1().ConfigMaps("default").Create(ctx, configMap("read"), metav1.CreateOptions{}); err != nil {
		return err
	}
	for _, via := range []struct {
		what, server string
		judged       bool
	}{{"the leader", leader, true}, {"a follower", follower(l, leader), false}} {
		before, err := usages(l)
		if err != nil {
			return err
		}
		took, err := readOpenLoop(ctx, l, via.server)
		if err != nil {
			return err
		}
		after, err := usages(l)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("linearizable get of one object through %s, %d a second: p99", via.what, readsPerSecond)
		if via.judged {
			t.below(what, quantile(took, 0.99), 3, "ms")
		} else {
			t.told(what, fmt.Sprintf("%.2f ms", quantile(took, 0.99)))
		}
		t.told("  p50, and the worst", fmt.Sprintf("%.2f ms, %.1f ms", quantile(took, 0.5), quantile(took, 1)))
		cpu := 1e6 * (after[via.server].cpuSeconds - before[via.server].cpuSeconds) / float64(len(took))
		t.told("  processor time in that server", fmt.Sprintf("%.0f us", cpu))
	}
	return nil
}

// follower is a server other than the leader.
func follower(l *rig.Lab, leader string) string {
	for _, s := range l.Servers() {
		if s != leader {
			return s
		}
	}
	return leader
}

func readOpenLoop(ctx context.Context, l *rig.Lab, server string) ([]time.Duration, error) {
	due := make(chan time.Time, readsPerSecond) // a second of arrears is more than the target allows
	took := make([][]time.Duration, readersMax)
	g, ctx := errgroup.WithContext(ctx)
	for r := range readersMax {
		c, err := newWriter(ctx, l, server)
		if err != nil {
			return nil, err
		}
		defer c.conn.Close()
		if _, err := c.get(readPath, protobufType); err != nil {
			return nil, err
		}
		g.Go(func() error {
			for at := range due {
				if _, err := c.get(readPath, protobufType); err != nil {
					return err
				}
				took[r] = append(took[r], time.Since(at))
			}
			return nil
		})
	}
	pace(ctx, due)
	err := g.Wait()
	return slices.Concat(took...), err
}

// pace says when each read is due, until all are or ctx ends.
func pace(ctx context.Context, due chan<- time.Time) {
	defer close(due)
	began := time.Now()
	for i := range int(readsPerSecond * readsFor.Seconds()) {
		at := began.Add(time.Duration(i) * time.Second / readsPerSecond)
		time.Sleep(time.Until(at))
		select {
		case due <- at:
		case <-ctx.Done():
			return
		}
	}
}
