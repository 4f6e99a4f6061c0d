package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/supervisor"
)

// container is a container in memory.
type container struct {
	id, podUID string
	shared     bool // its PID namespace outlives its first process: the node's, the pod's or another container's
	cgroup     string
	layout     cgroupLayout

	mu         sync.Mutex
	record     containerRecord
	commandEnv []string   // of commands; nil until the first
	pidfd      int        // of its init; -1 once reaped or before the start
	readers    []*os.File // this agent's read ends of the log pipes
	held       []*os.File // copies of what the supervisor holds: the terminal's master or stdin's write end
	started    bool
	gone       bool          // its directory is removed: nothing is saved any more
	ended      chan struct{} // closed when record.Exit is set
}

func (c *container) closeFiles() {
	c.mu.Lock()
	defer c.mu.Unlock()
	closeFiles(c.readers)
	closeFiles(c.held)
	c.readers, c.held = nil, nil
	if c.pidfd >= 0 {
		unix.Close(c.pidfd)
		c.pidfd = -1
	}
}

// snapshot is the state to show; not ok while the container is still being made.
func (c *container) snapshot() (runtime.Container, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.record.state(), c.started
}

func (c *container) await(ctx context.Context) error {
	t := time.NewTimer(killWait)
	defer t.Stop()
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return fmt.Errorf("container %s has been killed but has not ended within %v: it hangs in the kernel", c.id, killWait)
	}
}

// kill signals the init process; SIGKILL to a container without a PID namespace of its own goes to its whole cgroup,
// since no namespace dies with the init there.
func (c *container) kill(sig syscall.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.record.Exit != nil || c.pidfd < 0 {
		return unix.ESRCH
	}
	if sig == unix.SIGKILL && c.shared {
		if err := c.layout.killAll(c.cgroup); err != nil {
			return err
		}
	}
	return unix.PidfdSendSignal(c.pidfd, sig, nil, 0)
}

// idBytesMax bounds the names of pods and containers.
const idBytesMax = 200

// fitsID says whether a character may be in the name of a pod or container. A regular expression would have to be made whenever this
// program starts, also as a container.
func fitsID(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_+.-", r)
}

func checkID(id string) error {
	if id == "" || len(id) > idBytesMax || strings.ContainsFunc(id, func(r rune) bool { return !fitsID(r) }) || id == "." || id == ".." {
		return fmt.Errorf("%q cannot be the name of a pod or container: use letters, digits and _+-. (at most 200)", id)
	}
	return nil
}

// StartContainer implements runtime.Executor. Started again under its ID, a running container is returned as it is.
func (e *Executor) StartContainer(ctx context.Context, spec runtime.ContainerSpec) (runtime.Container, error) {
	if err := checkSpec(spec); err != nil {
		return runtime.Container{}, err
	}
	e.mu.Lock()
	p := e.pods[spec.PodUID]
	e.mu.Unlock()
	if p == nil {
		return runtime.Container{}, fmt.Errorf("sandbox %s: %w", spec.PodUID, runtime.ErrNotFound)
	}
	select {
	case e.starts <- struct{}{}:
		defer func() { <-e.starts }()
	case <-ctx.Done():
		return runtime.Container{}, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.removed || !p.alive() {
		return runtime.Container{}, fmt.Errorf("sandbox %s: %w", spec.PodUID, runtime.ErrNotRunning)
	}
	if c, err := e.findContainer(spec.ID); err == nil {
		st, _ := c.snapshot()
		return st, nil
	}
	c, err := e.makeContainer(p, spec)
	if err != nil {
		return runtime.Container{}, fmt.Errorf("starting container %s: %w", spec.ID, err)
	}
	st, _ := c.snapshot()
	return st, nil
}

func checkSpec(s runtime.ContainerSpec) error {
	if err := checkID(s.ID); err != nil {
		return err
	}
	if len(s.Args) == 0 {
		return fmt.Errorf("container %s has nothing to run: its image names no command and the pod gives none", s.ID)
	}
	if !filepath.IsAbs(s.LogPath) {
		return fmt.Errorf("container %s: the log path %q is not absolute", s.ID, s.LogPath)
	}
	return nil
}

func (e *Executor) newContainer(r containerRecord, pod runtime.SandboxSpec) *container {
	return &container{
		id: r.Spec.ID, podUID: r.Spec.PodUID, shared: pod.HostPID || pod.SharePID || r.Spec.TargetID != "",
		cgroup: e.cgroups.container(r.Spec.PodUID, r.Spec.ID), layout: e.cgroups,
		record: r, pidfd: -1, ended: make(chan struct{}),
	}
}

// makeContainer goes from nothing to a running program, or back to nothing.
func (e *Executor) makeContainer(p *pod, spec runtime.ContainerSpec) (*container, error) {
	caps, err := capMask(spec.CapAdd, spec.CapDrop, spec.Privileged)
	if err != nil {
		return nil, err
	}
	spec.Resources.OOMScoreAdj = oomScore(spec.Resources.OOMScoreAdj)
	r := containerRecord{Spec: spec, BootID: p.record.BootID, CapMask: caps, UserBase: p.record.UserBase}
	if r.UserBase != 0 {
		r.Rootfs = e.publicRoot(spec.ID)
	}
	c := e.newContainer(r, p.record.Spec)
	dir := e.containerDir(spec.ID)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	err = e.saveContainer(&c.record)
	if err == nil {
		err = e.keepEnv(spec.ID, spec.Env)
	}
	if err == nil {
		err = e.mountRootfs(c, p.record.Pause.PID)
	}
	var f frame
	if err == nil {
		f, err = e.frameFor(p, spec)
	}
	if err == nil {
		err = e.run(c, f)
	}
	if err != nil {
		return nil, errors.Join(err, e.undo(c))
	}
	return c, nil
}

func (e *Executor) mountRootfs(c *container, pause int) error {
	r := &c.record
	if r.UserBase == 0 {
		layers := r.Spec.Layers
		if points := e.mountPointsLayer(r.Spec.Mounts); points != "" && len(layers) > 0 && len(layers) < layersMax {
			layers = append([]string{points}, layers...)
		}
		return mountRootfs(e.containerDir(c.id), e.rootfs(r), layers)
	}
	return mountMappedRootfs(e.containerDir(c.id), e.rootfs(r), r.Spec.Layers, pause, r.UserBase)
}

// frameFor collects what a container takes from its pod, and from the container that it is to look into.
func (e *Executor) frameFor(p *pod, spec runtime.ContainerSpec) (frame, error) {
	f := frame{spec: p.record.Spec, pause: p.record.Pause.PID, shm: e.shmFor(p), userBase: p.record.UserBase}
	if spec.TargetID == "" {
		return f, nil
	}
	target, err := e.findContainer(spec.TargetID)
	if err != nil {
		return f, fmt.Errorf("the container to look into: %w", err)
	}
	target.mu.Lock()
	defer target.mu.Unlock()
	if target.record.Exit != nil || target.podUID != spec.PodUID {
		return f, fmt.Errorf("the container to look into, %s: %w", spec.TargetID, runtime.ErrNotRunning)
	}
	f.target = target.record.Init.PID
	return f, nil
}

func (e *Executor) shmFor(p *pod) string {
	if p.record.Spec.HostIPC {
		return "/dev/shm"
	}
	return filepath.Join(e.podDir(p.record.Spec.PodUID), "shm")
}

// run makes the container and lets it go.
func (e *Executor) run(c *container, f frame) error {
	if err := e.prepare(c, f); err != nil {
		return err
	}
	return e.release(c)
}

// prepare makes the container up to where its init waits for release. The record with the init's pid comes last: a
// container that has one needs nothing but its release, and an agent that finds one goes on from there.
func (e *Executor) prepare(c *container, f frame) error {
	spec := c.record.Spec
	cfg, err := e.cgroups.containerConfig(spec, f, e.rootfs(&c.record), c.record.CapMask)
	if err != nil {
		return err
	}
	if err := e.filter(c, cfg); err != nil {
		return err
	}
	lc, err := libcontainer.Create(e.runcRoot(), spec.ID, cfg)
	if err != nil {
		return err
	}
	io, err := e.openIO(c)
	if err != nil {
		return err
	}
	defer io.close()
	if err := lc.Start(io.process(spec)); err != nil {
		return err
	}
	if err := e.openInit(c, lc); err != nil {
		return err
	}
	if e.cgroups.mountsCgroups(spec, f) {
		if err := e.cgroups.mountCgroups(c.cgroup, c.record.Init.PID, spec.Privileged); err != nil {
			return err
		}
	}
	if err := io.handOver(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.record.Started = time.Now().UTC()
	return e.saveContainer(&c.record)
}

// openInit learns which process the container is, and opens it.
func (e *Executor) openInit(c *container, lc *libcontainer.Container) error {
	st, err := lc.State()
	if err != nil {
		return err
	}
	init := process{st.InitProcessPid, st.InitProcessStartTime}
	fd, err := openProcess(init)
	if err != nil {
		return fmt.Errorf("the container's first process has ended before its program: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pidfd = fd
	c.record.Init, c.record.CgroupPaths = init, st.CgroupPaths
	return nil
}

// release lets the image's program begin.
func (e *Executor) release(c *container) error {
	if err := e.openGate(c); err != nil {
		return err
	}
	awaitProgram(c)
	c.mu.Lock()
	c.started = true
	c.mu.Unlock()
	e.mu.Lock()
	e.containers[c.id] = c
	e.mu.Unlock()
	return e.watch.Watch(c.pidfd, containerKey(c.id))
}

// undo removes what a failed or interrupted start has left.
func (e *Executor) undo(c *container) error {
	e.mu.Lock()
	if e.containers[c.id] == c {
		delete(e.containers, c.id)
	}
	e.mu.Unlock()
	err := e.cgroups.killAll(c.cgroup)
	c.mu.Lock()
	if c.pidfd >= 0 {
		_ = unix.PidfdSendSignal(c.pidfd, unix.SIGKILL, nil, 0)
		err = errors.Join(err, pollEnd(c.pidfd, killWait))
		_, _, _ = waitPidfd(c.pidfd, 0)
	}
	c.mu.Unlock()
	return errors.Join(err, e.removeContainer(c))
}

// removeContainer deletes every trace but the log.
func (e *Executor) removeContainer(c *container) error {
	if c.record.Spec.TTY || c.record.Spec.Stdin {
		err := e.visor.do(func(v *supervisor.Client) error { return v.Drop(c.id) })
		if err != nil {
			return err
		}
	}
	if err := e.visor.do(func(v *supervisor.Client) error { return v.CloseLogs(c.id) }); err != nil {
		return err
	}
	if err := e.dropGate(c); err != nil {
		return err
	}
	c.closeFiles()
	if c.shared {
		if err := e.cgroups.killAll(c.cgroup); err != nil {
			return err
		}
	}
	dir := e.containerDir(c.id)
	if err := e.unmountRootfs(&c.record); err != nil {
		return err
	}
	if err := e.cgroups.remove(c.cgroup); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(e.runcRoot(), c.id)); err != nil {
		return err
	}
	if err := e.dropEnv(c.id); err != nil {
		return err
	}
	c.mu.Lock()
	c.gone = true
	err := os.RemoveAll(dir)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.containers[c.id] == c {
		delete(e.containers, c.id)
	}
	return nil
}

// Signal implements runtime.Executor.
func (e *Executor) Signal(_ context.Context, id string, sig syscall.Signal) error {
	c, err := e.findContainer(id)
	if err != nil {
		return err
	}
	err = c.kill(sig)
	if errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("container %s: %w", id, runtime.ErrNotRunning)
	}
	return err
}

// RemoveContainer implements runtime.Executor.
func (e *Executor) RemoveContainer(_ context.Context, id string) error {
	c, err := e.findContainer(id)
	if errors.Is(err, runtime.ErrNotFound) {
		return nil
	}
	if st, _ := c.snapshot(); st.Running {
		return fmt.Errorf("container %s still runs: signal it first", id)
	}
	if err := e.removeContainer(c); err != nil {
		return fmt.Errorf("removing container %s: %w", id, err)
	}
	return nil
}

// ReopenLog makes the container's log continue in a new file at its path: rename the old one first.
func (e *Executor) ReopenLog(_ context.Context, id string) error {
	return e.visor.do(func(v *supervisor.Client) error { return v.Reopen(id) })
}
