package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

const (
	idleSettle  = 20 * time.Second // after the lab's start, so that what only starting needs has gone
	idleMeasure = 30 * time.Second
	ticks       = 100 // a second, in /proc/PID/stat
)

// usage of one agent process. Memory in MB.
type usage struct{ rss, pss, anon, cpuSeconds float64 }

// benchIdle watches the agents of a lab that has nothing to do. The worst of each role counts.
func benchIdle(ctx context.Context, l *rig.Lab, t *table) error {
	select {
	case <-time.After(idleSettle):
	case <-ctx.Done():
		return ctx.Err()
	}
	before, err := usages(l)
	if err != nil {
		return err
	}
	select {
	case <-time.After(idleMeasure):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := usages(l)
	if err != nil {
		return err
	}
	tellIdle(t, "server", l.Servers(), before, after, 60)
	tellIdle(t, "node agent", l.Clients(), before, after, 30)
	return nil
}

func tellIdle(t *table, role string, names []string, before, after map[string]usage, target float64) {
	var worst usage
	for _, n := range names {
		b, a := before[n], after[n]
		worst.rss, worst.pss, worst.anon = max(worst.rss, a.rss), max(worst.pss, a.pss), max(worst.anon, a.anon)
		worst.cpuSeconds = max(worst.cpuSeconds, a.cpuSeconds-b.cpuSeconds)
	}
	t.below("idle "+role+", private memory (RssAnon)", worst.anon, target, "MB")
	t.told("  its RSS, PSS", fmt.Sprintf("%.0f MB, %.0f MB", worst.rss, worst.pss))
	t.below("idle "+role+", share of a core", 100*worst.cpuSeconds/idleMeasure.Seconds(), 1, "%")
}

// usages of each node's agent. A client's is two processes, the one that the lab started and, below its
// supervisor, the one that works: both count.
func usages(l *rig.Lab) (map[string]usage, error) {
	nodes, err := l.Nodes()
	if err != nil {
		return nil, err
	}
	out := map[string]usage{}
	for _, n := range nodes {
		var sum usage
		pids := agents(n.Name, n.Dir)
		if len(pids) == 0 {
			return nil, fmt.Errorf("%s has no agent", n.Name)
		}
		for _, pid := range pids {
			u, err := usageOf(pid)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", n.Name, err)
			}
			sum.rss, sum.pss, sum.anon, sum.cpuSeconds = sum.rss+u.rss, sum.pss+u.pss, sum.anon+u.anon, sum.cpuSeconds+u.cpuSeconds
		}
		out[n.Name] = sum
	}
	return out, nil
}

// agents are the processes `peapod agent` of a node.
func agents(name, dir string) []int {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var out []int
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || !strings.Contains(string(b), "\x00agent\x00--name\x00"+name+"\x00--data-dir\x00"+dir+"/data\x00") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil {
			out = append(out, pid)
		}
	}
	return out
}

func usageOf(pid int) (u usage, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return u, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return usage{field(string(status), "VmRSS:"), field(string(rollup), "Pss:"), field(string(status), "RssAnon:"), (user + system) / ticks}, nil
}

// field reads a value in kB and returns MB.
func field(text, name string) float64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1024
		}
	}
	return 0
}
