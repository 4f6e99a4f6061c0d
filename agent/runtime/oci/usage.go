package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// Resize implements runtime.Executor.
func (e *Executor) Resize(ctx context.Context, podUID, containerID string, r runtime.Resources) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p, err := e.findPod(podUID)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.removed || !p.alive() {
		return fmt.Errorf("sandbox %s: %w", podUID, runtime.ErrNotRunning)
	}
	if containerID == "" {
		return e.resizePod(p, r)
	}
	c, err := e.findContainer(containerID)
	if err != nil {
		return err
	}
	return e.resizeContainer(c, r)
}

func (e *Executor) findPod(uid string) (*pod, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.pods[uid]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("sandbox %s: %w", uid, runtime.ErrNotFound)
}

// resizePod expects p.mu.
func (e *Executor) resizePod(p *pod, r runtime.Resources) error {
	uid := p.record.Spec.PodUID
	if err := e.cgroups.change(e.cgroups.pod(uid), r); err != nil {
		return fmt.Errorf("resizing pod %s: %w", uid, err)
	}
	p.record.Spec.Resources = r
	return e.savePod(&p.record)
}

func (e *Executor) resizeContainer(c *container, r runtime.Resources) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.record.Exit != nil || !c.started {
		return fmt.Errorf("container %s: %w", c.id, runtime.ErrNotRunning)
	}
	if err := e.cgroups.change(c.cgroup, r); err != nil {
		return fmt.Errorf("resizing container %s: %w", c.id, err)
	}
	r.OOMScoreAdj = c.record.Spec.Resources.OOMScoreAdj // its processes keep theirs, and so do commands beside them
	c.record.Spec.Resources = r
	return e.saveContainer(&c.record)
}

// change gives an existing cgroup other limits. A memory limit below what is in use is refused here: the kernel would swap
// or, with cgroup v2, kill for it.
func (l cgroupLayout) change(name string, r runtime.Resources) error {
	if r.MemoryBytes > 0 {
		u, err := l.usage(name)
		if err != nil {
			return err
		}
		if u.WorkingSetBytes > uint64(r.MemoryBytes) {
			return fmt.Errorf("attempting to set the memory limit (%d bytes) below current usage (%d bytes)", r.MemoryBytes, u.WorkingSetBytes)
		}
	}
	res := l.resources(r, nil)
	res.SkipDevices = true
	m, err := manager.New(&cgroups.Cgroup{Path: name, Resources: res})
	if err != nil {
		return err
	}
	return m.Set(res)
}

// Stats implements runtime.Executor.
func (e *Executor) Stats(ctx context.Context, podUID string) (runtime.PodStats, error) {
	if err := ctx.Err(); err != nil {
		return runtime.PodStats{}, err
	}
	if _, err := e.findPod(podUID); err != nil {
		return runtime.PodStats{}, err
	}
	whole, err := e.cgroups.usage(e.cgroups.pod(podUID))
	if err != nil {
		return runtime.PodStats{}, fmt.Errorf("reading what pod %s uses: %w", podUID, err)
	}
	out := runtime.PodStats{Usage: whole, Containers: map[string]runtime.Usage{}}
	for _, c := range e.containersOf(podUID) {
		if st, ok := c.snapshot(); !ok || !st.Running {
			continue
		}
		u, err := e.cgroups.usage(c.cgroup)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has ended in between
		}
		if err != nil {
			return runtime.PodStats{}, fmt.Errorf("reading what container %s uses: %w", c.id, err)
		}
		out.Containers[c.id] = u
	}
	return out, nil
}

const statsRead = cgroups.CPU | cgroups.Memory | cgroups.Pids

func (l cgroupLayout) usage(name string) (runtime.Usage, error) {
	m, err := manager.New(&cgroups.Cgroup{Path: name, Resources: &cgroups.Resources{}})
	if err != nil {
		return runtime.Usage{}, err
	}
	now := time.Now()
	st, err := m.Stats(&cgroups.StatsOptions{Controllers: statsRead})
	if err != nil {
		return runtime.Usage{}, err
	}
	return usageOf(st, now), nil
}

// usageOf says a reading in one version's names. In v1 the numbers with "total_" include the cgroups below; v2's always do.
func usageOf(st *cgroups.Stats, now time.Time) runtime.Usage {
	mem := func(names ...string) uint64 {
		for _, n := range names {
			if v, ok := st.MemoryStats.Stats[n]; ok {
				return v
			}
		}
		return 0
	}
	u := runtime.Usage{
		Time: now, CPUNanos: st.CpuStats.CpuUsage.TotalUsage,
		MemoryBytes: st.MemoryStats.Usage.Usage, RSSBytes: mem("total_rss", "anon"), SwapBytes: st.MemoryStats.SwapOnlyUsage.Usage,
		PageFaults: mem("total_pgfault", "pgfault"), MajorPageFaults: mem("total_pgmajfault", "pgmajfault"), Processes: st.PidsStats.Current,
		Periods: st.CpuStats.ThrottlingData.Periods, ThrottledPeriods: st.CpuStats.ThrottlingData.ThrottledPeriods,
		ThrottledNanos: st.CpuStats.ThrottlingData.ThrottledTime,
	}
	u.WorkingSetBytes = u.MemoryBytes - min(u.MemoryBytes, mem("total_inactive_file", "inactive_file"))
	return u
}

// WritableLayer is the directory where what a container writes to its root file system is kept.
func (e *Executor) WritableLayer(containerID string) string {
	return filepath.Join(e.containerDir(containerID), "upper")
}
