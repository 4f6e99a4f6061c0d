package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/supervisor"
)

// recover takes up what an earlier agent left. Nothing is running yet that could get in its way.
func (e *Executor) recover() error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	if err := e.recoverPods(boot); err != nil {
		return err
	}
	if err := e.recoverContainers(boot); err != nil {
		return err
	}
	if err := e.clearMountPoints(); err != nil {
		return err
	}
	e.visor.mu.Lock()
	e.visor.revive = e.revive
	e.visor.mu.Unlock()
	return nil
}

func entries(dir string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(list))
	for i, d := range list {
		names[i] = d.Name()
	}
	return names, nil
}

func (e *Executor) recoverPods(boot string) error {
	uids, err := entries(filepath.Join(e.cfg.StateDir, "pods"))
	if err != nil {
		return err
	}
	for _, uid := range uids {
		p := &pod{pidfd: -1}
		if err := readJSON(filepath.Join(e.podDir(uid), "pod.json"), &p.record); err != nil || p.record.Spec.PodUID != uid {
			e.log.Warn("an unreadable sandbox is treated as dead", "pod", uid, "error", err)
			p.record = podRecord{BootID: boot}
			p.record.Spec.PodUID = uid
		}
		if err := e.recoverPause(p, boot); err != nil {
			return err
		}
		e.pods[uid] = p
		if p.record.UserBase != 0 {
			e.ranges[p.record.UserBase] = uid
		}
	}
	return nil
}

func (e *Executor) recoverPause(p *pod, boot string) error {
	uid := p.record.Spec.PodUID
	if p.record.BootID != boot {
		return nil // its mounts went with the boot; the directory goes by RemoveSandbox
	}
	if p.record.Pause.PID == 0 {
		return killStrayPause(e.podDir(uid))
	}
	fd, err := openProcess(p.record.Pause)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	p.pidfd = fd
	return e.watch.Watch(fd, podKey(uid))
}

// killStrayPause ends a pause whose agent died between starting it and writing it down.
func killStrayPause(dir string) error {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	want := supervisor.PauseName + "\x00" + dir + "\x00"
	for _, d := range procs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", d.Name(), "cmdline"))
		if err != nil || !strings.HasPrefix(string(b), want) {
			continue
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("ending a stray pause: %w", err)
		}
	}
	return nil
}

func (e *Executor) recoverContainers(boot string) error {
	ids, err := entries(filepath.Join(e.cfg.StateDir, "containers"))
	if err != nil {
		return err
	}
	for _, id := range ids {
		var r containerRecord
		if err := readJSON(filepath.Join(e.containerDir(id), "container.json"), &r); err != nil || r.Spec.ID != id {
			e.log.Warn("an unreadable container is removed", "container", id, "error", err)
			r = containerRecord{}
			r.Spec.ID = id
		}
		if err := e.takeEnv(&r); err != nil {
			return fmt.Errorf("container %s: %w", id, err)
		}
		if err := e.recoverContainer(r, boot); err != nil {
			return fmt.Errorf("container %s: %w", id, err)
		}
	}
	return nil
}

func (e *Executor) recoverContainer(r containerRecord, boot string) error {
	p := e.pods[r.Spec.PodUID]
	var frame runtime.SandboxSpec
	if p != nil {
		frame = p.record.Spec
	}
	c := e.newContainer(r, frame)
	if p == nil || (r.Exit == nil && r.BootID == boot && e.unfinished(c)) {
		return e.undo(c)
	}
	c.started = true
	e.containers[c.id] = c
	if r.Exit != nil {
		close(c.ended)
		if !r.Delivered {
			e.deliver(c)
		}
		return nil
	}
	if r.BootID != boot {
		e.finishStale(c)
		return nil
	}
	return e.adopt(c)
}

// unfinished tells whether the earlier agent died before all was ready for the image's program. The caller of that
// StartContainer has no answer and will ask again.
func (e *Executor) unfinished(c *container) bool {
	if c.record.Init.PID != 0 {
		return false
	}
	if lc, err := libcontainer.Load(e.runcRoot(), c.id); err == nil {
		if st, err := lc.State(); err == nil {
			c.pidfd, _ = openProcess(process{st.InitProcessPid, st.InitProcessStartTime})
		}
	}
	return true
}

// adopt goes on watching a container, or records the end that it has come to. The earlier agent may have died
// before, while or after it let the container's program begin.
func (e *Executor) adopt(c *container) error {
	fd, err := openProcess(c.record.Init)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	if err := e.reopenStreams(c); err != nil {
		return err
	}
	if fd < 0 {
		e.finish(c)
		return nil
	}
	c.pidfd = fd
	switch err := e.openGate(c); {
	case errors.Is(err, runtime.ErrNoLease): // it waits at its gate, or the supervisor is ending it
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	case err != nil:
		return err
	}
	return e.watch.Watch(fd, containerKey(c.id))
}

// reopenStreams opens this agent's own ends again. Whether the supervisor still pumps is found out by Status:
// a supervisor that was started after the container has no pump for it.
func (e *Executor) reopenStreams(c *container) error {
	spec := c.record.Spec
	if spec.TTY || spec.Stdin {
		err := e.visor.do(func(v *supervisor.Client) (err error) {
			c.held, err = v.Attach(c.id)
			return err
		})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	if spec.TTY {
		return nil
	}
	for _, s := range streams {
		r, err := openReader(e.containerDir(c.id), s)
		if err != nil {
			return err
		}
		c.readers = append(c.readers, r)
	}
	pumps, err := e.visor.client.Pumps(c.id)
	if err != nil || pumps > 0 {
		return err
	}
	return e.handStreams(e.visor.client, c)
}

func (e *Executor) handStreams(v *supervisor.Client, c *container) error {
	spec := c.record.Spec
	for i, r := range c.readers {
		if err := v.Log(c.id, streams[i].kind, spec.LogPath, r); err != nil {
			return err
		}
	}
	if len(c.held) == 0 {
		return nil
	}
	if spec.TTY {
		if err := v.Log(c.id, supervisor.Terminal, spec.LogPath, c.held[0]); err != nil {
			return err
		}
	}
	return v.Hold(c.id, c.held...)
}

// revive gives a new supervisor the charge of a dead one, whose pipes and terminals this agent kept open.
func (e *Executor) revive(v *supervisor.Client) error {
	e.mu.Lock()
	list := make([]*container, 0, len(e.containers))
	for _, c := range e.containers {
		list = append(list, c)
	}
	e.mu.Unlock()
	var errs []error
	for _, c := range list {
		select {
		case <-c.ended:
			continue
		default:
		}
		if err := e.handStreams(v, c); err != nil {
			errs = append(errs, fmt.Errorf("container %s: %w", c.id, err))
		}
	}
	e.log.Warn("the supervisor had died: a new one has taken over", "containers", len(list))
	return errors.Join(errs...)
}

// finishStale reports a container that ended with its machine.
func (e *Executor) finishStale(c *container) {
	if err := e.unmountRootfs(&c.record); err != nil {
		e.log.Warn("unmounting after a reboot", "container", c.id, "error", err)
	}
	c.record.Exit = &exitRecord{Code: -1, Finished: lastChange(e.containerDir(c.id))}
	if err := e.saveContainer(&c.record); err != nil {
		e.log.Error("recording a container's end", "container", c.id, "error", err)
	}
	close(c.ended)
	e.deliver(c)
}
