package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

// Sizes of the row small.
const (
	smallWarmUp   = 100 // Deployments that nobody counts
	smallReplicas = 10
)

// benchSmall says what a Deployment of 10 costs, in processor time of everybody: that hardly depends on what else the machine does.
func benchSmall(ctx context.Context, l *rig.Lab, t *table) error {
	ctx, cancel := context.WithTimeout(ctx, scaleTimeout)
	defer cancel()
	leader, c, err := l.LeaderClient(ctx)
	if err != nil {
		return err
	}
	w := newCrowd(ctx, c)
	defer w.leave()
	if _, _, err := w.add(ctx, smallWarmUp, smallReplicas); err != nil {
		return err
	}
	profiling, err := profileAll(ctx, l)
	if err != nil {
		return err
	}
	before, err := usages(l)
	if err != nil {
		return err
	}
	self := ownSeconds()
	committed, running, err := w.add(ctx, *smallDeployments, smallReplicas)
	if err != nil {
		return err
	}
	after, err := usages(l)
	if err != nil {
		return err
	}
	pods := float64(*smallDeployments * smallReplicas)
	t.told(fmt.Sprintf("%d Deployments of %d on %d simulated nodes: committed; Running", *smallDeployments, smallReplicas, *smallNodes),
		fmt.Sprintf("%.0f/s; %.0f/s", pods/committed.Seconds(), pods/running.Seconds()))
	costs := map[string]float64{"client": ownSeconds() - self}
	for name := range after {
		costs[roleOf(name, leader)] += after[name].cpuSeconds - before[name].cpuSeconds
	}
	sum := costs["leader"] + costs["followers"] + costs["simulated nodes"] + costs["client"]
	each := func(role string) float64 { return 1e3 * costs[role] / float64(*smallDeployments) }
	t.told("  processor time for a Deployment: leader, followers, simulated nodes, client; all",
		fmt.Sprintf("%.2f, %.2f, %.2f, %.2f; %.2f ms", each("leader"), each("followers"), each("simulated nodes"), each("client"), 1e3*sum/float64(*smallDeployments)))
	return errors.Join(w.allPlaced(ctx), profiling())
}

func roleOf(name, leader string) string {
	switch name {
	case leader:
		return "leader"
	case "sim":
		return "simulated nodes"
	}
	return "followers"
}

// ownSeconds is the processor time of this process.
func ownSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

const profileSeconds = 8

// profileAll takes processor profiles of everybody if they are wanted; what it returns waits for them.
func profileAll(ctx context.Context, l *rig.Lab) (wait func() error, err error) {
	if *profiles == "" {
		return func() error { return nil }, nil
	}
	nodes, err := l.Nodes()
	if err != nil {
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range nodes {
		role := "server"
		if !n.Server() {
			role = "sim"
		}
		g.Go(func() error {
			b, err := l.Admin(ctx, n.Name, role, http.MethodGet, fmt.Sprintf("/debug/pprof/profile?seconds=%d", profileSeconds))
			return errors.Join(err, os.WriteFile(filepath.Join(*profiles, n.Name+".pprof"), b, 0o600))
		})
	}
	return g.Wait, nil
}
