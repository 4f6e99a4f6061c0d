package usage

import (
	"context"
	"time"

	"github.com/prometheus/procfs"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// Summary is a node's /stats/summary.
func (m *Meter) Summary(ctx context.Context) *stats.Summary {
	last, before := m.fresh(ctx)
	out := &stats.Summary{Pods: []stats.PodStats{}}
	out.Node.NodeName, out.Node.StartTime = m.cfg.Node, metav1.NewTime(m.booted())
	if last == nil {
		return out
	}
	var then runtime.Usage
	if before != nil {
		then = before.node
	}
	rate, _ := nanoCores(last.node, then, m.booted())
	out.Node.CPU, out.Node.Memory, out.Node.Swap = cpuStats(last.node, rate), memoryStats(last.node), swapStats(last.node)
	for _, r := range last.sorted() {
		out.Pods = append(out.Pods, podStats(r, before.of(r.pod)))
	}
	return out
}

func podStats(now, then podReading) stats.PodStats {
	p := stats.PodStats{
		PodRef:     stats.PodReference{Name: now.pod.Name, Namespace: now.pod.Namespace, UID: string(now.pod.UID)},
		Containers: []stats.ContainerStats{}, ProcessStats: &stats.ProcessStats{ProcessCount: &now.stats.Processes},
	}
	if t := now.pod.Status.StartTime; t != nil {
		p.StartTime = *t
	}
	rate, _ := nanoCores(now.stats.Usage, then.stats.Usage, p.StartTime.Time)
	p.CPU, p.Memory, p.Swap = cpuStats(now.stats.Usage, rate), memoryStats(now.stats.Usage), swapStats(now.stats.Usage)
	for _, c := range running(now.pod) {
		u, ok := now.stats.Containers[c.id]
		if !ok {
			continue
		}
		rate, _ := nanoCores(u, then.stats.Containers[c.id], c.started)
		p.Containers = append(p.Containers, stats.ContainerStats{Name: c.name, StartTime: metav1.NewTime(c.started),
			CPU: cpuStats(u, rate), Memory: memoryStats(u), Swap: swapStats(u)})
	}
	return p
}

func cpuStats(u runtime.Usage, nanoCores uint64) *stats.CPUStats {
	return &stats.CPUStats{Time: metav1.NewTime(u.Time), UsageNanoCores: &nanoCores, UsageCoreNanoSeconds: &u.CPUNanos}
}

func memoryStats(u runtime.Usage) *stats.MemoryStats {
	return &stats.MemoryStats{Time: metav1.NewTime(u.Time), UsageBytes: &u.MemoryBytes, WorkingSetBytes: &u.WorkingSetBytes,
		RSSBytes: &u.RSSBytes, PageFaults: &u.PageFaults, MajorPageFaults: &u.MajorPageFaults}
}

func swapStats(u runtime.Usage) *stats.SwapStats {
	return &stats.SwapStats{Time: metav1.NewTime(u.Time), SwapUsageBytes: &u.SwapBytes}
}

// booted is when the machine was started; the zero time if that cannot be read.
func (m *Meter) booted() time.Time {
	fs, err := procfs.NewFS(m.cfg.Proc)
	if err != nil {
		return time.Time{}
	}
	st, err := fs.Stat()
	if err != nil {
		return time.Time{}
	}
	return time.Unix(int64(st.BootTime), 0)
}
