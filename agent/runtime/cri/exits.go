package cri

import (
	"context"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/peapod-sh/peapod/agent/runtime"
)

const (
	// settleFirst and settleMax are the pauses between questions for a container whose process has ended but which the
	// runtime still takes to be running: it reaps the process at the same moment as we hear of its end.
	settleFirst = 2 * time.Millisecond
	settleMax   = time.Second
	// lookEvery is how often the runtime's list is read: for what was removed behind our back.
	lookEvery = 10 * time.Second
)

// ended is called by the watcher, once for each process.
func (e *Executor) ended(id string) {
	c, err := e.find(id)
	if err == nil {
		e.spawn(func() { e.learn(e.ctx, c) })
	}
}

// learn asks until the runtime knows the container's end, and settles it. A container that runs on is watched by its process
// as soon as that is known; until then it is asked for every settleMax.
func (e *Executor) learn(ctx context.Context, c *container) {
	for pause := settleFirst; ; pause = min(2*pause, settleMax) {
		st, known := e.ask(ctx, c)
		if known && !st.Running {
			e.settle(c, st)
			return
		}
		if known && c.blind() && e.watchProcess(c, st) {
			return
		}
		select {
		case <-c.ended:
			return
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// ask is the container's state as the runtime has it; known is false if it does not answer.
func (e *Executor) ask(ctx context.Context, c *container) (st runtime.Container, known bool) {
	name, st := c.snapshot()
	r, err := e.runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: name, Verbose: c.blind()})
	switch {
	case err == nil:
		return stateOf(c, r), true
	case absent(err): // removed behind our back
		st.Running, st.Finished, st.ExitCode = false, time.Now(), -1
		return st, true
	}
	return st, false
}

// settle notes a container's end, on disk first, and delivers it. Only the first call for a container does anything.
func (e *Executor) settle(c *container, st runtime.Container) {
	c.endedOnce.Do(func() {
		c.mu.Lock()
		if st.Started.IsZero() {
			st.Started = c.state.Started
		}
		st.PID = 0
		c.state = st
		c.mu.Unlock()
		e.unwatch(c)
		if err := e.saveEnd(endRecord{Container: st}); err != nil {
			e.log.Error("recording a container's end", "container", c.id, "error", err)
		}
		close(c.ended)
		e.deliver(st, c)
	})
}

// deliver hands an end to the agent; c is nil if the runtime holds the container no more.
func (e *Executor) deliver(st runtime.Container, c *container) {
	e.out.Put(st, func() {
		var err error
		if c == nil {
			err = e.removeEnd(st.ID)
		} else {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.gone {
				err = e.removeEnd(st.ID)
			} else {
				err = e.saveEnd(endRecord{Container: st, Delivered: true})
			}
		}
		if err != nil {
			e.log.Warn("recording that an end was delivered", "container", st.ID, "error", err)
		}
	})
}

// awaitEnd returns when the container's end is settled.
func (e *Executor) awaitEnd(ctx context.Context, c *container) error {
	if name, _ := c.snapshot(); name == "" {
		return nil
	}
	e.learn(ctx, c)
	select {
	case <-c.ended:
		return nil
	default:
		return ctx.Err()
	}
}

// forget drops a container that the runtime has removed. Its record stays until its end is delivered.
func (e *Executor) forget(c *container) {
	e.drop(c)
	e.unwatch(c)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	if r, ok := e.loadEnd(c.id); ok && r.Delivered {
		if err := e.removeEnd(c.id); err != nil {
			e.log.Warn("removing the record of an end", "container", c.id, "error", err)
		}
	}
}

// look reads the runtime's list now and then until Close.
func (e *Executor) look() {
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-time.After(lookEvery):
		}
		e.lookOnce()
		if err := e.sweep(); err != nil && e.ctx.Err() == nil {
			e.log.Warn("removing what earlier agents have left", "error", err)
		}
	}
}

func (e *Executor) all() []*container {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]*container, 0, len(e.containers))
	for _, c := range e.containers {
		out = append(out, c)
	}
	return out
}

// lookOnce settles what has ended or vanished. The entries are taken before the list, so that what is started in
// between is not taken to be missing.
func (e *Executor) lookOnce() {
	entries := e.all()
	r, err := e.runtime.ListContainers(e.ctx, &cri.ListContainersRequest{Filter: &cri.ContainerFilter{LabelSelector: e.ours()}})
	if err != nil {
		if e.ctx.Err() == nil {
			e.log.Warn("listing the runtime's containers", "error", err)
		}
		return
	}
	states := map[string]cri.ContainerState{}
	for _, c := range r.Containers {
		states[c.Id] = c.State
	}
	for _, c := range entries {
		name, st := c.snapshot()
		if state, there := states[name]; name != "" && st.Running && (!there || state != cri.ContainerState_CONTAINER_RUNNING) {
			e.learn(e.ctx, c)
		}
	}
}

func (e *Executor) ours() map[string]string {
	return map[string]string{labelOwner: e.cfg.CgroupParent}
}
