package oci

import (
	"errors"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/agent/supervisor"
)

func podKey(uid string) string      { return "pod/" + uid }
func containerKey(id string) string { return "container/" + id }

// ended is called by the watcher, once for each process.
func (e *Executor) ended(key string) {
	kind, name, _ := strings.Cut(key, "/")
	e.mu.Lock()
	p, c := e.pods[name], e.containers[name]
	e.mu.Unlock()
	if kind == "pod" && p != nil {
		// The zombie keeps its pid until the pod is removed, so that the pid cannot be another's.
		e.log.Warn("a pod's sandbox has ended", "pod", name)
	}
	if kind == "container" && c != nil {
		e.finish(c)
	}
}

// finish records a container's end: learn it, complete the log, write it down, reap, deliver.
func (e *Executor) finish(c *container) {
	exit, reap := e.learn(c)
	if c.shared { // else the kernel has ended them with the first
		if err := c.layout.killAll(c.cgroup); err != nil {
			e.log.Warn("ending the other processes of a container", "container", c.id, "error", err)
		}
	}
	if err := e.visor.do(func(v *supervisor.Client) error { return v.Flush(c.id) }); err != nil {
		e.log.Warn("completing the log of an ended container", "container", c.id, "error", err)
	}
	c.mu.Lock()
	c.record.Exit = &exit
	if err := e.saveContainer(&c.record); err != nil {
		e.log.Error("recording a container's end", "container", c.id, "error", err)
	}
	if reap {
		_, _, _ = waitPidfd(c.pidfd, 0)
	}
	close(c.ended)
	c.mu.Unlock()
	if c.shared && !c.layout.awaitEmpty(c.cgroup) { // whoever starts it again may find its ports taken
		e.log.Warn("processes of an ended container have been killed but have not ended", "container", c.id)
	}
	e.deliver(c)
}

func (e *Executor) deliver(c *container) {
	st, _ := c.snapshot()
	e.out.Put(st, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.record.Delivered = true
		if c.gone {
			return
		}
		if err := e.saveContainer(&c.record); err != nil {
			e.log.Warn("recording that an end was delivered", "container", c.id, "error", err)
		}
	})
}

// learn finds out how a container's init has ended, and whether it is ours to reap.
func (e *Executor) learn(c *container) (exitRecord, bool) {
	c.mu.Lock()
	fd, init, paths := c.pidfd, c.record.Init, c.record.CgroupPaths
	c.mu.Unlock()
	exit := exitRecord{Code: -1, Finished: time.Now().UTC(), OOMKilled: oomKilled(paths) > 0}
	if fd >= 0 {
		st, ok, err := waitPidfd(fd, unix.WNOWAIT)
		if ok {
			exit.Code = st.code
			return exit, true
		}
		if err != nil && !errors.Is(err, unix.ECHILD) {
			e.log.Warn("waiting for a container", "container", c.id, "error", err)
		}
	}
	e.learnFromJournal(&exit, init, fd)
	return exit, false
}

// learnFromJournal asks the supervisor, whose child it is since an earlier agent died; and the kernel, if
// the supervisor was not there either.
func (e *Executor) learnFromJournal(exit *exitRecord, init process, fd int) {
	if err := e.visor.do(func(v *supervisor.Client) error { return v.Sync() }); err != nil {
		e.log.Warn("asking the supervisor for exits", "error", err)
	}
	all, err := supervisor.ReadExits(e.cfg.SupervisorDir)
	if err != nil {
		e.log.Warn("reading the supervisor's journal", "error", err)
	}
	if x, ok := all[supervisor.ProcessKey(init)]; ok {
		exit.Code, exit.Finished = x.Code, x.At.UTC()
		return
	}
	if fd < 0 {
		return
	}
	if st, ok := lastWords(fd); ok {
		exit.Code = st.code
	}
}
