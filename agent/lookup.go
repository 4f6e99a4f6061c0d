package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/usage"
)

// podView is a pod as other goroutines may see it: spec as desired, status as last computed.
type podView struct {
	pod    *corev1.Pod
	status *corev1.PodStatus
}

func (w *worker) setView(st *corev1.PodStatus) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.view.status = st
}

func (w *worker) setViewPod(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.view.pod = pod
}

func (w *worker) peek() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := *w.view.pod
	if w.view.status != nil {
		p.Status = *w.view.status
	}
	return &p
}

// allStatuses are those of all of a pod's containers.
func allStatuses(st *corev1.PodStatus) []corev1.ContainerStatus {
	return slices.Concat(st.ContainerStatuses, st.InitContainerStatuses, st.EphemeralContainerStatuses)
}

// Pods lists the node's pods with their newest statuses. They share memory with the agent: read only.
func (a *Agent) Pods() []*corev1.Pod {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]*corev1.Pod, 0, len(a.pods))
	for _, w := range a.pods {
		out = append(out, w.peek())
	}
	return out
}

// Pod finds one by its name; nil if this node has none.
func (a *Agent) Pod(namespace, name string) *corev1.Pod {
	for _, p := range a.Pods() {
		if p.Namespace == namespace && p.Name == name {
			return p
		}
	}
	return nil
}

// LogFile is the log of a container's current (or latest) start, or of the one before it. A rotated log's
// older parts lie beside it.
func (a *Agent) LogFile(pod *corev1.Pod, container string, previous bool) (string, error) {
	cs := findStatus(&pod.Status, container)
	if cs == nil {
		return "", fmt.Errorf("container %s is not valid for pod %s", container, pod.Name)
	}
	attempt := int(cs.RestartCount)
	if previous {
		if attempt == 0 {
			return "", fmt.Errorf("previous terminated container %q in pod %q not found", container, pod.Name)
		}
		attempt--
	} else if w := cs.State.Waiting; w != nil && cs.ContainerID == "" {
		return "", fmt.Errorf("container %q in pod %q is waiting to start: %s", container, pod.Name, w.Reason)
	}
	if a.cfg.DataDir == "" {
		return "", fmt.Errorf("node %s keeps no logs", a.cfg.NodeName)
	}
	return filepath.Join(a.logDir(pod), container, fmt.Sprintf("%d.log", attempt)), nil
}

// Usage tells what the node and its pods use.
func (a *Agent) Usage() *usage.Meter { return a.meter }

// Exec runs a command in a running container of a pod.
func (a *Agent) Exec(ctx context.Context, containerID string, spec runtime.ExecSpec) (int, error) {
	return a.cfg.Executor.Exec(ctx, containerID, spec)
}

// inputs is an executor whose containers' inputs can be written.
type inputs interface {
	Stdin(ctx context.Context, containerID string) (*os.File, error)
	CloseStdin(ctx context.Context, containerID string) error
}

// Stdin is where a running container with stdin or a terminal reads from; the caller closes it.
func (a *Agent) Stdin(ctx context.Context, containerID string) (*os.File, error) {
	if ex, ok := a.cfg.Executor.(inputs); ok {
		return ex.Stdin(ctx, containerID)
	}
	return nil, errors.New("this node's containers take no input")
}

// CloseStdin lets a container read the end of its input.
func (a *Agent) CloseStdin(ctx context.Context, containerID string) error {
	if ex, ok := a.cfg.Executor.(inputs); ok {
		return ex.CloseStdin(ctx, containerID)
	}
	return nil
}

// attacher is an executor that joins the streams of a running container itself.
type attacher interface {
	Attach(ctx context.Context, containerID string, spec runtime.ExecSpec) error
}

// Attacher joins the streams of a running container until it or the client ends; nil if its log and Stdin are the way.
func (a *Agent) Attacher() func(ctx context.Context, containerID string, spec runtime.ExecSpec) error {
	if ex, ok := a.cfg.Executor.(attacher); ok {
		return ex.Attach
	}
	return nil
}
