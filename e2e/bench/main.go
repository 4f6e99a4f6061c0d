package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/peapod-sh/peapod/e2e/bench/rig"
)

// benchmark makes some rows of the table on a lab that it may share with the next.
type benchmark struct {
	name string
	lab  []string // arguments of lab up; benchmarks with equal ones share a lab, and nil needs none
	run  func(ctx context.Context, l *rig.Lab, t *table) error
}

var (
	labName          = flag.String("lab", "bench", "name of the lab to start")
	only             = flag.String("run", "", "rows to make, separated by commas: idle, apply, writes, nodes, leaders, bulk, pods, dns, api, reads, watches, fairness, crds, admission, lists, memory, pull, small, deaths, rates, scale, million; all but rates and million if empty")
	millionPods      = flag.Int("million", 1_000_000, "how many pods the row million has")
	dyingNodes       = flag.Int("dying", 2_500, "how many simulated nodes the row deaths has, of which three fifths end")
	smallNodes       = flag.Int("nodes", 1_000, "how many simulated nodes the row small has")
	smallDeployments = flag.Int("deployments", 500, "how many Deployments of 10 it makes")
	kills            = flag.Int("kills", 20, "how often a node is killed or cut off")
	shots            = flag.Int("leaders", 10, "how often the leader is killed")
	writing          = flag.Duration("writing", writingDefault, "how long the writers write")
	pods             = flag.Int("pods", 100_000, "how many pods memory is measured with, besides 10,000")
	profiles         = flag.String("profiles", "", "a directory for the processor profiles of the rows api, crds, admission, small, rates and scale, and of the row million's new leader, with the heaps of its servers")
	quietName        = flag.String("quiet", "", "be the quiet client of the row fairness, which has a process of its own, with the kubeconfig of standard input")
	keep             = flag.Bool("keep", false, "leave the lab, to be looked at")
)

// Labs with nodes that run pods, and with servers alone.
var (
	usual = []string{"--servers", "3", "--clients", "3"}
	bare  = []string{"--servers", "3", "--clients", "0"}
)

func benchmarks() []benchmark {
	return []benchmark{
		{"idle", usual, benchIdle},
		{"apply", usual, benchApply},
		{"writes", usual, benchWrites},
		{"nodes", usual, benchNodes},
		{"leaders", usual, benchLeaders},
		{"api", bare, benchAPI},
		{"reads", bare, benchReads},
		{"watches", bare, benchWatches},
		{"fairness", bare, benchFairness},
		{"crds", bare, benchCRDs},
		{"admission", bare, benchAdmission},
		{"pods", []string{"--servers", "1", "--clients", "1"}, benchPods},
		{"dns", []string{"--servers", "1", "--clients", "1"}, benchDNS},
		{"bulk", []string{"--servers", "3", "--clients", "0", "--sim-nodes", "100"}, benchBulk},
		{"lists", []string{"--servers", "3", "--clients", "0", "--sim-nodes", "100", "--sim-pods", "1100"}, benchLists},
		{"memory", []string{"--servers", "3", "--clients", "0", "--sim-nodes", "100", "--sim-pods", "1100"}, benchMemory},
		{"pull", nil, benchPull},
		{"small", []string{"--servers", "3", "--clients", "0", "--sim-nodes", strconv.Itoa(*smallNodes), "--sim-pods", "110"}, benchSmall},
		{"deaths", []string{"--servers", "3", "--clients", "0", "--sim-nodes", strconv.Itoa(*dyingNodes), "--sim-pods", "110"}, benchDeaths},
		{"rates", []string{"--servers", "3", "--clients", "0", "--sim-nodes", strconv.Itoa(scaleNodes), "--sim-pods", "250"}, benchRates},
		{"scale", []string{"--servers", "3", "--clients", "0", "--sim-nodes", strconv.Itoa(scaleNodes), "--sim-pods", "250"}, benchScale},
		{"million", []string{"--servers", "3", "--clients", "0", "--sim-nodes", strconv.Itoa(millionNodes), "--sim-pods", "110", "--timeout", "5m"}, benchMillion},
	}
}

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	do := run
	if *quietName != "" {
		do = func(ctx context.Context) error { return beQuiet(ctx, *quietName, os.Stdin, os.Stdout) }
	}
	if err := do(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run groups the chosen benchmarks by the lab that they need.
func run(ctx context.Context) error {
	var chosen []benchmark
	for _, b := range benchmarks() {
		if *only == "" && b.name != "million" && b.name != "rates" || slices.Contains(strings.Split(*only, ","), b.name) {
			chosen = append(chosen, b)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("-run %s names no benchmark", *only)
	}
	t := newTable(os.Stdout)
	defer t.print()
	for len(chosen) > 0 {
		n := 1
		for n < len(chosen) && slices.Equal(chosen[n].lab, chosen[0].lab) {
			n++
		}
		if err := onLab(ctx, chosen[:n], t); err != nil {
			return err
		}
		chosen = chosen[n:]
	}
	return nil
}

func onLab(ctx context.Context, list []benchmark, t *table) (err error) {
	var l *rig.Lab
	if list[0].lab != nil {
		if l, err = rig.Up(ctx, *labName, list[0].lab...); err != nil {
			return err
		}
	}
	if l != nil && !*keep {
		defer func() { err = errors.Join(err, l.Down()) }()
	}
	for _, b := range list {
		fmt.Fprintf(os.Stderr, "%s ...\n", b.name)
		t.command = "make bench BENCH=" + b.name
		if err := b.run(ctx, l, t); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
	}
	return nil
}
