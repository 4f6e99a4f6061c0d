package cri

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// Resize implements runtime.Executor. The pod's cgroup is our own; the container's limits are the runtime's to change, or
// it would put the old ones back some day.
func (e *Executor) Resize(ctx context.Context, podUID, containerID string, r runtime.Resources) error {
	p, err := e.findPod(podUID)
	if err != nil {
		return err
	}
	if containerID == "" {
		if err := e.cgroups.Change(e.cgroups.Path(podUID, ""), r); err != nil {
			return fmt.Errorf("resizing pod %s: %w", podUID, err)
		}
		id, spec := p.known()
		spec.Resources = r
		p.set(id, spec)
		return nil
	}
	_, name, err := e.running(containerID)
	if err != nil {
		return err
	}
	if err := e.roomFor(e.cgroups.Path(podUID, name), r); err != nil {
		return fmt.Errorf("resizing container %s: %w", containerID, err)
	}
	if _, err := e.runtime.UpdateContainerResources(ctx, &cri.UpdateContainerResourcesRequest{ContainerId: name, Linux: resources(r)}); err != nil {
		return fmt.Errorf("resizing container %s: %w", containerID, err)
	}
	return nil
}

// roomFor refuses a memory limit below what is in use: the kernel would swap or, with cgroup v2, kill for it.
func (e *Executor) roomFor(path string, r runtime.Resources) error {
	if r.MemoryBytes <= 0 {
		return nil
	}
	u, err := e.cgroups.Usage(path)
	if err == nil && u.WorkingSetBytes > uint64(r.MemoryBytes) {
		err = fmt.Errorf("attempting to set the memory limit (%d bytes) below current usage (%d bytes)", r.MemoryBytes, u.WorkingSetBytes)
	}
	return err
}

// Stats implements runtime.Executor. They are read from the cgroups, whose paths the runtime has from us: it need not be
// asked, and tells less.
func (e *Executor) Stats(_ context.Context, podUID string) (runtime.PodStats, error) {
	if _, err := e.findPod(podUID); err != nil {
		return runtime.PodStats{}, err
	}
	whole, err := e.cgroups.Usage(e.cgroups.Path(podUID, ""))
	if err != nil {
		return runtime.PodStats{}, fmt.Errorf("reading what pod %s uses: %w", podUID, err)
	}
	out := runtime.PodStats{Usage: whole, Containers: map[string]runtime.Usage{}}
	for _, c := range e.entriesOf(podUID) {
		name, st := c.snapshot()
		if !st.Running {
			continue
		}
		u, err := e.cgroups.Usage(e.cgroups.Path(podUID, name))
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

// ReopenLog has the runtime open a container's log anew after it was renamed.
func (e *Executor) ReopenLog(ctx context.Context, containerID string) error {
	_, name, err := e.running(containerID)
	if err != nil {
		return err
	}
	_, err = e.runtime.ReopenContainerLog(ctx, &cri.ReopenContainerLogRequest{ContainerId: name})
	return err
}

// WritableLayer is the directory where what a running container writes to its root file system is kept; "" if the runtime
// keeps it otherwise than in an overlay.
func (e *Executor) WritableLayer(containerID string) string {
	c, err := e.find(containerID)
	if err != nil {
		return ""
	}
	_, st := c.snapshot()
	if !st.Running || st.PID == 0 {
		return ""
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", st.PID))
	if err != nil {
		return ""
	}
	return upperDir(string(mounts))
}

// upperDir finds the overlay at / among a process's mounts: fields are separated by spaces, what follows " - " is type,
// source and options (proc(5)).
func upperDir(mounts string) string {
	for line := range strings.Lines(mounts) {
		place, what, ok := strings.Cut(strings.TrimSpace(line), " - ")
		f, kind := strings.Fields(place), strings.Fields(what)
		if !ok || len(f) < 5 || f[4] != "/" || len(kind) < 3 || kind[0] != "overlay" {
			continue
		}
		for option := range strings.SplitSeq(kind[2], ",") {
			if dir, ok := strings.CutPrefix(option, "upperdir="); ok {
				return dir
			}
		}
	}
	return ""
}
