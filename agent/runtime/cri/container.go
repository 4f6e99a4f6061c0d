package cri

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// container is one that the runtime holds for us.
type container struct {
	id, pod   string // the caller's name of it; the pod's UID
	name      string // in the pod
	attempt   int
	ended     chan struct{} // closed when state is that of the end
	endedOnce sync.Once

	start sync.Mutex // held while it is being started

	mu    sync.Mutex
	cri   string // the runtime's name of it; "" before it is made
	state runtime.Container
	pidfd int  // -1: the process could not be told
	gone  bool // the runtime has forgotten it at our word
}

func newContainer(id, pod, name string, attempt int) *container {
	return &container{id: id, pod: pod, name: name, attempt: attempt, ended: make(chan struct{}), pidfd: -1}
}

func (c *container) snapshot() (id string, state runtime.Container) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cri, c.state
}

// blind says that no pidfd will tell of its end.
func (c *container) blind() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pidfd < 0
}

// unwatch closes the pidfd.
func (e *Executor) unwatch(c *container) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pidfd >= 0 {
		e.watch.Forget(int32(c.pidfd))
		unix.Close(c.pidfd)
		c.pidfd = -1
	}
}

// find is a container that was made.
func (e *Executor) find(id string) (*container, error) {
	e.mu.Lock()
	c := e.containers[id]
	e.mu.Unlock()
	if c != nil {
		if name, _ := c.snapshot(); name != "" {
			return c, nil
		}
	}
	return nil, fmt.Errorf("container %s: %w", id, runtime.ErrNotFound)
}

// running is a container that has not ended, and the runtime's name of it.
func (e *Executor) running(id string) (*container, string, error) {
	c, err := e.find(id)
	if err != nil {
		return nil, "", err
	}
	name, st := c.snapshot()
	if !st.Running {
		return nil, "", fmt.Errorf("container %s: %w", id, runtime.ErrNotRunning)
	}
	return c, name, nil
}

func (e *Executor) entriesOf(uid string) []*container {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []*container
	for _, c := range e.containers {
		if c.pod == uid {
			out = append(out, c)
		}
	}
	return out
}

func (e *Executor) containersOf(uid string) []runtime.Container {
	var out []runtime.Container
	for _, c := range e.entriesOf(uid) {
		if name, st := c.snapshot(); name != "" {
			out = append(out, st)
		}
	}
	return out
}

func (e *Executor) entry(spec runtime.ContainerSpec) *container {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containers[spec.ID]
	if c == nil {
		c = newContainer(spec.ID, spec.PodUID, spec.Name, spec.Attempt)
		e.containers[spec.ID] = c
	}
	return c
}

// StartContainer implements runtime.Executor.
func (e *Executor) StartContainer(ctx context.Context, spec runtime.ContainerSpec) (runtime.Container, error) {
	p, err := e.findPod(spec.PodUID)
	if err != nil {
		return runtime.Container{}, err
	}
	p.work.RLock()
	defer p.work.RUnlock()
	c := e.entry(spec)
	c.start.Lock()
	defer c.start.Unlock()
	if name, st := c.snapshot(); name != "" {
		return st, nil
	}
	name, err := e.leftover(ctx, spec.ID)
	if err == nil && name == "" {
		name, err = e.makeContainer(ctx, p, spec)
	}
	if err != nil {
		e.drop(c)
		return runtime.Container{}, fmt.Errorf("starting container %s: %w", spec.ID, err)
	}
	return e.takeUp(ctx, c, name), nil
}

// drop forgets an entry that no container came of.
func (e *Executor) drop(c *container) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.containers[c.id] == c {
		delete(e.containers, c.id)
	}
}

// leftover finds the container of an earlier agent whose call to start it outlived it: its program must not start twice.
// One that never was started is removed, "" is none.
func (e *Executor) leftover(ctx context.Context, id string) (name string, err error) {
	for pause := settleFirst; ; pause = min(2*pause, settleMax) {
		found, err := e.withID(ctx, id)
		if err != nil || len(found) == 0 {
			return "", err
		}
		if found[0].State != cri.ContainerState_CONTAINER_CREATED {
			return found[0].Id, nil
		}
		if _, err := e.runtime.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: found[0].Id}); err == nil || absent(err) {
			continue
		}
		select { // it is being started at this moment
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(pause):
		}
	}
}

// withID are the containers that the runtime holds by the name that the caller gave them: one at most.
func (e *Executor) withID(ctx context.Context, id string) ([]*cri.Container, error) {
	labels := e.ours()
	labels[labelID] = id
	r, err := e.runtime.ListContainers(ctx, &cri.ListContainersRequest{Filter: &cri.ContainerFilter{LabelSelector: labels}})
	if err != nil {
		return nil, err
	}
	return r.Containers, nil
}

func (e *Executor) makeContainer(ctx context.Context, p *pod, spec runtime.ContainerSpec) (string, error) {
	sandbox, frame := p.known()
	if sandbox == "" {
		return "", fmt.Errorf("sandbox %s: %w", spec.PodUID, runtime.ErrNotFound)
	}
	st, err := e.runtime.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: sandbox})
	if absent(err) || err == nil && st.Status.GetState() != cri.PodSandboxState_SANDBOX_READY {
		return "", fmt.Errorf("sandbox %s has ended: %w", spec.PodUID, runtime.ErrNotFound)
	}
	if err != nil {
		return "", err
	}
	frameConfig, err := e.sandboxConfig(frame)
	if err != nil {
		return "", err
	}
	at := place{frame: frame, owner: e.cfg.CgroupParent, recurses: e.told.recurses}
	if spec.TargetID != "" {
		if _, at.target, err = e.running(spec.TargetID); err != nil {
			return "", err
		}
	}
	cfg, err := containerConfig(spec, at)
	if err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	call, cancel := unbroken(ctx)
	defer cancel()
	made, err := e.runtime.CreateContainer(call, &cri.CreateContainerRequest{PodSandboxId: sandbox, Config: cfg, SandboxConfig: frameConfig})
	if err == nil {
		_, err = e.runtime.StartContainer(call, &cri.StartContainerRequest{ContainerId: made.ContainerId})
	}
	if err != nil {
		return "", errors.Join(err, e.unmakeContainer(ctx, spec.ID))
	}
	return made.ContainerId, nil
}

// unmakeContainer removes a container that could not be started: its name stays taken until then. If our caller has given
// up, the runtime may even have started it.
func (e *Executor) unmakeContainer(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	found, err := e.withID(ctx, id)
	if err != nil {
		return err
	}
	for _, c := range found {
		if _, err := e.runtime.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: c.Id}); err != nil && !absent(err) {
			return err
		}
	}
	return nil
}

// cleanTimeout bounds the removal of what could not be started.
const cleanTimeout = 30 * time.Second

// takeUp begins to watch a container that the runtime calls name, or notes its end.
func (e *Executor) takeUp(ctx context.Context, c *container, name string) runtime.Container {
	// If the runtime does not answer now, it runs and is ours all the same: whoever asks next learns what has become of it.
	st := runtime.Container{ID: c.id, PodUID: c.pod, Name: c.name, Attempt: c.attempt, Running: true, Started: time.Now()}
	if r, err := e.runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: name, Verbose: true}); err == nil {
		st = stateOf(c, r)
	}
	c.mu.Lock()
	c.cri, c.state = name, st
	c.mu.Unlock()
	if !st.Running {
		e.settle(c, st)
	} else if !e.watchProcess(c, st) {
		e.spawn(func() { e.learn(e.ctx, c) })
	}
	_, st = c.snapshot()
	return st
}

// watchProcess has the kernel tell of the container's end; false if its process is not known, or is there no more.
func (e *Executor) watchProcess(c *container, st runtime.Container) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	fd := openProcess(st.PID, c.cri)
	if fd < 0 {
		return false
	}
	if err := e.watch.Watch(fd, c.id); err != nil {
		e.log.Warn("watching a container's process", "container", c.id, "error", err)
		unix.Close(fd)
		return false
	}
	c.pidfd, c.state.PID = fd, st.PID
	return true
}

// openProcess opens a container's process; -1 if it is not there, or is not the container's any more: between the
// runtime's answer and now its number may have become another's.
func openProcess(pid int, name string) int {
	if pid <= 0 {
		return -1
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1
	}
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil || !strings.Contains(string(groups), name) {
		unix.Close(fd)
		return -1
	}
	return fd
}

// stateOf is a container's state in our words.
func stateOf(c *container, r *cri.ContainerStatusResponse) runtime.Container {
	s := r.Status
	out := runtime.Container{ID: c.id, PodUID: c.pod, Name: c.name, Attempt: c.attempt}
	if s.GetStartedAt() > 0 {
		out.Started = time.Unix(0, s.GetStartedAt())
	}
	switch s.GetState() {
	case cri.ContainerState_CONTAINER_RUNNING:
		out.Running, out.PID = true, pidIn(r.Info)
	case cri.ContainerState_CONTAINER_EXITED:
		out.Finished, out.ExitCode, out.OOMKilled = time.Unix(0, s.GetFinishedAt()), int(s.GetExitCode()), s.GetReason() == "OOMKilled"
		if n := out.ExitCode - 128; n > 0 && n <= 64 { // the interface has no field for the signal
			out.Signal = n
		}
	default:
		out.Finished, out.ExitCode = time.Now(), -1
	}
	return out
}

// Signal implements runtime.Executor. The interface knows only stopping, with a signal of the runtime's choice, so all
// signals but KILL go to the process itself.
func (e *Executor) Signal(ctx context.Context, id string, sig syscall.Signal) error {
	c, name, err := e.running(id)
	if err != nil {
		return err
	}
	if sig == syscall.SIGKILL {
		if _, err := e.runtime.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: name}); err != nil && !absent(err) {
			return fmt.Errorf("killing container %s: %w", id, err)
		}
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pidfd < 0 {
		return fmt.Errorf("signalling container %s: the runtime has not told its process yet", id)
	}
	err = unix.PidfdSendSignal(c.pidfd, sig, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("container %s: %w", id, runtime.ErrNotRunning)
	}
	return err
}

// RemoveContainer implements runtime.Executor.
func (e *Executor) RemoveContainer(ctx context.Context, id string) error {
	c, err := e.find(id)
	if errors.Is(err, runtime.ErrNotFound) {
		return nil
	}
	name, st := c.snapshot()
	if st.Running {
		return fmt.Errorf("container %s still runs: signal it first", id)
	}
	if _, err := e.runtime.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: name}); err != nil && !absent(err) {
		return fmt.Errorf("removing container %s: %w", id, err)
	}
	e.forget(c)
	return nil
}
