package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/supervisor"
)

// pod is a sandbox in memory. mu is held over its making and removing, which therefore exclude each
// other and every start of a container in it.
type pod struct {
	mu      sync.Mutex
	record  podRecord
	pidfd   int // of the pause; -1 when it does not live
	removed bool
}

func (p *pod) closeFiles() {
	if p.pidfd >= 0 {
		unix.Close(p.pidfd)
		p.pidfd = -1
	}
}

func (p *pod) alive() bool { return p.pidfd >= 0 && !readable(p.pidfd) }

func readable(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1
}

// Handlers are the names by which RuntimeClasses may ask for this executor, beside none: manifests that are written for containerd
// call its default so.
var Handlers = []string{"runc"}

// StartSandbox implements runtime.Executor.
func (e *Executor) StartSandbox(ctx context.Context, spec runtime.SandboxSpec) (runtime.Sandbox, error) {
	if err := checkID(spec.PodUID); err != nil {
		return runtime.Sandbox{}, err
	}
	if spec.Handler != "" && !slices.Contains(Handlers, spec.Handler) {
		return runtime.Sandbox{}, fmt.Errorf("no runtime for %q is configured", spec.Handler)
	}
	p := e.podFor(spec.PodUID)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return runtime.Sandbox{}, err
	}
	if p.removed {
		return runtime.Sandbox{}, fmt.Errorf("sandbox %s is being removed: try again", spec.PodUID)
	}
	if !p.alive() {
		if err := e.makeSandbox(p, spec); err != nil {
			return runtime.Sandbox{}, fmt.Errorf("starting sandbox %s: %w", spec.PodUID, err)
		}
	}
	return e.sandboxState(p), nil
}

func (e *Executor) podFor(uid string) *pod {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.pods[uid]
	if p == nil {
		p = &pod{pidfd: -1}
		e.pods[uid] = p
	}
	return p
}

func (e *Executor) makeSandbox(p *pod, spec runtime.SandboxSpec) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	p.closeFiles()
	dir := e.podDir(spec.PodUID)
	if err := os.MkdirAll(filepath.Join(dir, "shm"), 0o711); err != nil {
		return err
	}
	p.record = podRecord{Spec: spec, Created: time.Now().UTC(), BootID: boot}
	if spec.OwnUsers {
		if p.record.UserBase, err = e.takeRange(spec.PodUID); err != nil {
			return err
		}
	}
	if err := e.savePod(&p.record); err != nil {
		return err
	}
	if err := e.cgroups.makePod(spec.PodUID, spec.Resources); err != nil {
		return err
	}
	if err := mountShm(filepath.Join(dir, "shm")); err != nil {
		return err
	}
	if p.pidfd, p.record.Pause, err = startPause(dir, spec, p.record.UserBase); err != nil {
		return err
	}
	if err := e.savePod(&p.record); err != nil {
		return err
	}
	return e.watch.Watch(p.pidfd, podKey(spec.PodUID))
}

func mountShm(dir string) error {
	if err := unmount(dir); err != nil {
		return err
	}
	if err := unix.Mount("shm", dir, "tmpfs", secure, fmt.Sprintf("mode=1777,size=%d", shmBytes)); err != nil {
		return fmt.Errorf("mounting the pod's shared memory: %w", err)
	}
	return nil
}

// startPause runs the pause role of this binary in new namespaces. Its argument tells whose it is, for
// an agent that finds it after having died at the wrong moment.
func startPause(dir string, spec runtime.SandboxSpec, userBase uint32) (int, process, error) {
	pidfd := -1
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{supervisor.PauseName, dir}
	harmless := func() error { return nil }
	if spec.SharePID {
		cmd.Args = append(cmd.Args, supervisor.PauseSeen)
		var err error
		if harmless, err = pauseTells(cmd); err != nil {
			return -1, process{}, err
		}
	}
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: pauseFlags(spec), PidFD: &pidfd}
	if userBase != 0 {
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(userBase), Size: rangeSize}}
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings, cmd.SysProcAttr.GidMappingsEnableSetgroups = ids, ids, true
		cmd.SysProcAttr.Credential = &syscall.Credential{} // the namespace's root
	}
	if err := cmd.Start(); err != nil {
		return -1, process{}, errors.Join(fmt.Errorf("starting the pod's pause: %w", err), harmless())
	}
	if err := harmless(); err != nil {
		_, _ = cmd.Process.Kill(), cmd.Wait()
		return -1, process{}, err
	}
	p := process{cmd.Process.Pid, startTime(cmd.Process.Pid)}
	if err := cmd.Process.Release(); err != nil {
		return -1, process{}, err
	}
	fd, err := openProcess(p)
	if pidfd >= 0 {
		unix.Close(pidfd)
	}
	if err != nil {
		return -1, process{}, fmt.Errorf("the pod's pause has ended at once: %w", err)
	}
	return fd, p, nil
}

// pauseTells has a pause that containers will see say when it has no privilege left and nothing of the node to show: before that a
// container that may trace could enter the node through it. What is returned waits for that, and is called whether or not the pause starts.
func pauseTells(cmd *exec.Cmd) (harmless func() error, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.ExtraFiles = []*os.File{w}
	return func() error {
		defer r.Close()
		err := errors.Join(w.Close(), r.SetReadDeadline(time.Now().Add(killWait)))
		if n, readErr := r.Read(make([]byte, 1)); n == 0 {
			err = errors.Join(err, fmt.Errorf("the pod's pause did not become harmless: %w", readErr))
		}
		return err
	}, nil
}

func pauseFlags(s runtime.SandboxSpec) uintptr {
	var f uintptr
	if !s.HostNetwork {
		f |= unix.CLONE_NEWNET | unix.CLONE_NEWUTS
	}
	if !s.HostIPC {
		f |= unix.CLONE_NEWIPC
	}
	if s.SharePID {
		f |= unix.CLONE_NEWPID | unix.CLONE_NEWNS // of mounts: see roles.c
	}
	if s.OwnUsers {
		f |= unix.CLONE_NEWUSER
	}
	return f
}

// sandboxState expects p.mu.
func (e *Executor) sandboxState(p *pod) runtime.Sandbox {
	r := p.record
	s := runtime.Sandbox{PodUID: r.Spec.PodUID, Namespace: r.Spec.Namespace, Name: r.Spec.Name, Created: r.Created}
	if p.alive() {
		s.NetNS = fmt.Sprintf("/proc/%d/ns/net", r.Pause.PID)
	}
	for _, c := range e.containersOf(r.Spec.PodUID) {
		if st, ok := c.snapshot(); ok {
			s.Containers = append(s.Containers, st)
		}
	}
	return s
}

func (e *Executor) containersOf(uid string) []*container {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []*container
	for _, c := range e.containers {
		if c.podUID == uid {
			out = append(out, c)
		}
	}
	return out
}

// RemoveSandbox implements runtime.Executor.
func (e *Executor) RemoveSandbox(ctx context.Context, uid string) error {
	if err := checkID(uid); err != nil {
		return err
	}
	e.mu.Lock()
	p := e.pods[uid]
	e.mu.Unlock()
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.removed = true
	if err := e.takeDown(ctx, p, uid); err != nil {
		p.removed = false
		return fmt.Errorf("removing sandbox %s: %w", uid, err)
	}
	e.giveBackRange(uid)
	e.mu.Lock()
	delete(e.pods, uid)
	e.mu.Unlock()
	return e.unguard(uid)
}

func (e *Executor) takeDown(ctx context.Context, p *pod, uid string) error {
	list := e.containersOf(uid)
	for _, c := range list {
		if err := c.kill(unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	for _, c := range list {
		if err := c.await(ctx); err != nil {
			return err
		}
	}
	// With their first processes nearly all others are gone; only now the look for those that are left is short.
	if err := e.cgroups.killAll(e.cgroups.pod(uid)); err != nil {
		return err
	}
	for _, c := range list {
		if err := e.removeContainer(c); err != nil {
			return err
		}
	}
	if err := e.endPause(p); err != nil {
		return err
	}
	dir := e.podDir(uid)
	if err := unmount(filepath.Join(dir, "shm")); err != nil {
		return err
	}
	if err := e.cgroups.remove(e.cgroups.pod(uid)); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// endPause kills the pause and waits for its end, so that nothing of the pod is left on return.
func (e *Executor) endPause(p *pod) error {
	if p.pidfd < 0 {
		return nil
	}
	if _, ok := e.watch.Forget(int32(p.pidfd)); ok {
		if err := unix.PidfdSendSignal(p.pidfd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("ending the pause: %w", err)
		}
		if err := pollEnd(p.pidfd, killWait); err != nil {
			return err
		}
	}
	_, _, _ = waitPidfd(p.pidfd, 0) // reaps it if it is ours; else the supervisor does
	p.closeFiles()
	return nil
}

func pollEnd(pidfd int, limit time.Duration) error {
	end := time.Now().Add(limit)
	for {
		left := time.Until(end)
		if left <= 0 {
			return fmt.Errorf("a killed process has not ended within %v: it hangs in the kernel", limit)
		}
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(left.Milliseconds())+1)
		if n == 1 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("waiting for a process's end: %w", err)
		}
	}
}

// List implements runtime.Executor.
func (e *Executor) List(ctx context.Context) ([]runtime.Sandbox, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	pods := make([]*pod, 0, len(e.pods))
	for _, p := range e.pods {
		pods = append(pods, p)
	}
	e.mu.Unlock()
	out := make([]runtime.Sandbox, 0, len(pods))
	for _, p := range pods {
		p.mu.Lock()
		if !p.removed && p.record.Spec.PodUID != "" {
			out = append(out, e.sandboxState(p))
		}
		p.mu.Unlock()
	}
	e.out.Start()
	return out, nil
}
