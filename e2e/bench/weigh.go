package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent/runtime/runtimetest/containerd"
)

// weigh starts n pods and returns the PSS of one in KB, without its containers.
func (b *podBench) weigh(ctx context.Context, n int) (float64, error) {
	before, err := b.settledOverhead(ctx)
	if err != nil {
		return 0, err
	}
	if _, err := b.fill(ctx, n, func(i int) *corev1.Pod { return b.busyPod(fmt.Sprint("weighed-", i), "sleep", "100000") }); err != nil {
		return 0, err
	}
	after, err := b.settledOverhead(ctx)
	return (after - before) * 1024 / float64(n), err
}

// settledOverhead is the overhead when what went on before is over: a pod that is gone from the API has its pause for a moment more.
func (b *podBench) settledOverhead(ctx context.Context) (float64, error) {
	if err := pause(ctx, probeSettle); err != nil {
		return 0, err
	}
	return b.overhead()
}

// overhead is the PSS in MB of what runs pods without being theirs.
func (b *podBench) overhead() (sum float64, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		args, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(args), b.node.Dir+"/") && strings.Contains(string(args), "peapod") {
			sum += pss(filepath.Base(filepath.Dir(f)))
		}
	}
	return sum + b.daemonOverhead(), nil
}

// daemonOverhead is that of containerd, its shims and their pauses.
func (b *podBench) daemonOverhead() (sum float64) {
	if b.daemon == nil {
		return 0
	}
	sum = pss(strconv.Itoa(b.daemon.PID()))
	for _, shim := range b.daemon.Shims() {
		sum += pss(strconv.Itoa(shim))
		for _, child := range containerd.Children(shim) {
			if args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child)); err == nil && string(args) == "sleep\x002147483647\x00" {
				sum += pss(strconv.Itoa(child))
			}
		}
	}
	return sum
}

// pss is a process's share of memory in MB; one that has ended has none.
func pss(pid string) float64 {
	rollup, err := os.ReadFile(filepath.Join("/proc", pid, "smaps_rollup"))
	if err != nil {
		return 0
	}
	return field(string(rollup), "Pss:")
}
