package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/peapod-sh/peapod/agent/pressure"
	"github.com/peapod-sh/peapod/agent/volume"
)

// reasonEvicted is the reason of a pod that the node ended for want of something.
const reasonEvicted = "Evicted"

// evEvict ends a pod at once.
type evEvict struct{ message string }

// evict ends the pod for want of what message names.
func (w *worker) evict(message string, now time.Time) {
	l := w.life
	if message == "" || l.ending() {
		return
	}
	l.doomReason, l.doomMessage, l.deadline = reasonEvicted, message, now.Add(evictionGrace)
	w.event(corev1.EventTypeWarning, reasonEvicted, message, nil)
	w.save()
}

// pressed says why a new pod may not be started now.
func (a *Agent) pressed(pod *corev1.Pod) (reason, message string) {
	if a.pressure == nil {
		return "", ""
	}
	if message = a.pressure.Refuses(pod, podQOS(pod) == corev1.PodQOSBestEffort); message != "" {
		return reasonEvicted, message
	}
	return "", ""
}

// PressureChanged has a value when the node's conditions of pressure have changed; nil if nobody watches over them.
func (a *Agent) PressureChanged() <-chan struct{} {
	if a.pressure == nil {
		return nil
	}
	return a.pressure.Changed()
}

// pressedNode is the agent as the manager of pressure sees it.
type pressedNode struct{ *Agent }

var _ pressure.Node = pressedNode{}

func (n pressedNode) Levels() map[pressure.Signal]pressure.Level {
	return pressure.Read("/proc", n.cfg.DataDir, n.cfg.ImagesDir)
}

// Uses lists the pods that run and what they use.
func (n pressedNode) Uses(ctx context.Context, s pressure.Signal) []pressure.Use {
	var out []pressure.Use
	for _, p := range n.Pods() {
		if terminal(p.Status.Phase) || goesAlready(p) {
			continue
		}
		u := pressure.Use{Pod: p}
		if s == pressure.MemoryAvailable || s == pressure.PIDAvailable {
			n.useInKernel(ctx, &u)
		} else {
			u.Disk, u.Volumes = n.diskUse(p)
		}
		out = append(out, u)
	}
	return out
}

// goesAlready says whether the node has begun to end a pod for want of something.
func goesAlready(p *corev1.Pod) bool {
	c := findCondition(p.Status.Conditions, corev1.DisruptionTarget)
	return c != nil && c.Status == corev1.ConditionTrue && c.Reason == corev1.PodReasonTerminationByKubelet
}

func (n pressedNode) useInKernel(ctx context.Context, u *pressure.Use) {
	st, err := n.cfg.Executor.Stats(ctx, string(u.Pod.UID))
	if err != nil {
		return // it has no sandbox, so it uses nothing
	}
	u.Memory, u.Processes = map[string]int64{}, int64(st.Processes)
	for _, cs := range allStatuses(&u.Pod.Status) {
		if used, ok := st.Containers[trimID(cs.ContainerID)]; ok {
			u.Memory[cs.Name] = int64(used.WorkingSetBytes)
		}
	}
}

// Reclaim removes the writable layers of containers that have ended, then images that nobody needs.
func (n pressedNode) Reclaim(ctx context.Context, bytes int64) int64 {
	freed := n.removeDead(ctx)
	if freed >= bytes {
		return freed
	}
	byImages, err := n.cfg.Images.GC(ctx, bytes-freed)
	if err != nil && ctx.Err() == nil {
		n.log.Warn("removing unused images", "error", err)
	}
	return freed + byImages
}

func (n pressedNode) removeDead(ctx context.Context) (freed int64) {
	list, err := n.cfg.Executor.List(ctx)
	if err != nil {
		return 0
	}
	for _, sb := range list {
		for _, c := range sb.Containers {
			if c.Running {
				continue
			}
			size := n.layerSize(c.ID)
			if err := n.cfg.Executor.RemoveContainer(ctx, c.ID); err != nil {
				n.log.Warn("removing an ended container", "pod", sb.PodUID, "error", err)
				continue
			}
			freed += size
		}
	}
	return freed
}

// Evict ends a pod and waits a while for its end.
func (n pressedNode) Evict(ctx context.Context, pod *corev1.Pod, message string) {
	w := n.worker(pod.UID)
	if w == nil {
		return
	}
	w.post(evEvict{message})
	for end := time.Now().Add(evictionPatience); time.Now().Before(end) && ctx.Err() == nil; sleep(ctx, evictionLook) {
		if p := w.peek(); p.Status.Phase == corev1.PodFailed || n.worker(pod.UID) == nil {
			return
		}
	}
}

func (a *Agent) worker(uid types.UID) *worker {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pods[uid]
}

// layers is an executor whose containers' writable layers are directories of this node.
type layers interface {
	WritableLayer(containerID string) string
}

func (a *Agent) layerSize(id string) int64 {
	if ex, ok := a.cfg.Executor.(layers); ok && id != "" {
		return treeSize(ex.WritableLayer(id))
	}
	return 0
}

// diskUse is what a pod has written on this node's disk, in bytes: by container its layer and logs, and its emptyDirs.
func (a *Agent) diskUse(pod *corev1.Pod) (containers map[string]int64, volumes int64) {
	containers = map[string]int64{}
	for _, cs := range allStatuses(&pod.Status) {
		containers[cs.Name] = a.layerSize(trimID(cs.ContainerID)) + treeSize(filepath.Join(a.logDir(pod), cs.Name))
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.EmptyDir != nil && v.EmptyDir.Medium == corev1.StorageMediumDefault {
			volumes += treeSize(a.vols.Dir(string(pod.UID), v.Name))
		}
	}
	return containers, volumes
}

// treeSize is what a directory takes on disk, in bytes; what cannot be read counts nothing.
func treeSize(dir string) int64 {
	bytes, err := volume.DiskUse(dir)
	if err != nil {
		return 0
	}
	return bytes
}

// watchDisk ends pods that keep more on disk than they may, until ctx ends.
func (a *Agent) watchDisk(ctx context.Context) {
	tick := time.NewTicker(diskWatchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, p := range a.Pods() {
			if !limitsDisk(p) && !volume.Limited(p) || p.Status.Phase != corev1.PodRunning && p.Status.Phase != corev1.PodPending {
				continue
			}
			if message := a.overDisk(p); message != "" {
				if w := a.worker(p.UID); w != nil {
					w.post(evEvict{message})
				}
			}
		}
	}
}

func limitsDisk(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool {
		_, ok := c.Resources.Limits[corev1.ResourceEphemeralStorage]
		return ok
	})
}

// overDisk says by what a pod exceeds what it may keep on disk, "" if it does not.
func (a *Agent) overDisk(pod *corev1.Pod) string {
	message, err := a.vols.Excess(pod)
	if err != nil {
		a.log.Warn("measuring a pod's volumes", "pod", pod.UID, "error", err)
	}
	if message != "" || !limitsDisk(pod) {
		return message
	}
	containers, volumes := a.diskUse(pod)
	total := volumes
	for _, used := range containers {
		total += used
	}
	if limit, ok := resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{})[corev1.ResourceEphemeralStorage]; ok && total > limit.Value() {
		return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", limit.String())
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		if limit, ok := c.Resources.Limits[corev1.ResourceEphemeralStorage]; ok && containers[c.Name] > limit.Value() {
			return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", c.Name, limit.String())
		}
	}
	return ""
}
