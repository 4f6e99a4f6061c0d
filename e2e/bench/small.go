package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
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
	w, leader, err := crowdAtLeader(ctx, l)
	if err != nil {
		return err
	}
	defer w.leave()
	if _, _, err := w.add(ctx, smallWarmUp, smallReplicas); err != nil {
		return err
	}
	profiling, err := profileAll(ctx, l, "small")
	if err != nil {
		return err
	}
	before, err := spent(l, leader)
	if err != nil {
		return err
	}
	committed, running, err := w.add(ctx, *smallDeployments, smallReplicas)
	if err != nil {
		return err
	}
	after, err := spent(l, leader)
	if err != nil {
		return err
	}
	pods := float64(*smallDeployments * smallReplicas)
	t.told(fmt.Sprintf("%d Deployments of %d on %d simulated nodes: committed; Running", *smallDeployments, smallReplicas, *smallNodes),
		fmt.Sprintf("%.0f/s; %.0f/s", pods/committed.Seconds(), pods/running.Seconds()))
	t.told("  processor time for a Deployment: "+rolesInOrder, after.since(before).each(1e3/float64(*smallDeployments), "%.2f")+" ms")
	return errors.Join(w.allPlaced(ctx), profiling())
}

// roles is the processor time in seconds of each role.
type roles map[string]float64

// rolesInOrder is what each tells.
const rolesInOrder = "leader, followers, simulated nodes, client; all"

// lookingSeconds are those that this process used to find out what everybody has used; they are not the client's.
var lookingSeconds float64

// spent is what everybody has used by now.
func spent(l *rig.Lab, leader string) (roles, error) {
	own := ownSeconds()
	u, err := usages(l)
	out := roles{"client": own - lookingSeconds}
	lookingSeconds += ownSeconds() - own
	for name := range u {
		out[roleOf(name, leader)] += u[name].cpuSeconds
	}
	return out, err
}

func (r roles) since(before roles) roles {
	out := roles{}
	for role := range r {
		out[role] = r[role] - before[role]
	}
	return out
}

// each is the roles' times and their sum, times a factor.
func (r roles) each(factor float64, format string) string {
	var parts []string
	sum := 0.0
	for _, role := range []string{"leader", "followers", "simulated nodes", "client"} {
		parts = append(parts, fmt.Sprintf(format, r[role]*factor))
		sum += r[role]
	}
	return strings.Join(parts, ", ") + "; " + fmt.Sprintf(format, sum*factor)
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

// profileAll takes profiles of everybody's processor time and allocations during a row if they are wanted; what it returns waits for them.
func profileAll(ctx context.Context, l *rig.Lab, row string) (wait func() error, err error) {
	if *profiles == "" {
		return func() error { return nil }, nil
	}
	nodes, err := l.Nodes()
	if err != nil {
		return nil, err
	}
	var g errgroup.Group // one that has ended leaves the others theirs
	g.Go(func() error { return profileSelf(ctx, filepath.Join(*profiles, row+"-client.profile.pprof")) })
	for _, n := range nodes {
		role := "server"
		if !n.Server() {
			role = "sim"
		}
		for _, kind := range []string{"profile", "allocs"} {
			g.Go(func() error {
				b, err := l.Admin(ctx, n.Name, role, http.MethodGet, fmt.Sprintf("/debug/pprof/%s?seconds=%d", kind, profileSeconds))
				return errors.Join(err, os.WriteFile(filepath.Join(*profiles, row+"-"+n.Name+"."+kind+".pprof"), b, 0o600))
			})
		}
	}
	return g.Wait, nil
}

// profileSelf takes one of this process, the client.
func profileSelf(ctx context.Context, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	err = pause(ctx, profileSeconds*time.Second)
	pprof.StopCPUProfile()
	return errors.Join(err, f.Close())
}

// saveHeaps writes what is on the servers' heaps after a collection, if profiles are wanted.
func saveHeaps(ctx context.Context, l *rig.Lab) error {
	if *profiles == "" {
		return nil
	}
	for _, name := range l.Servers() {
		b, err := l.Admin(ctx, name, "server", http.MethodGet, "/debug/pprof/heap?gc=1")
		if err := errors.Join(err, os.WriteFile(filepath.Join(*profiles, name+".heap.pprof"), b, 0o600)); err != nil {
			return err
		}
	}
	return nil
}
