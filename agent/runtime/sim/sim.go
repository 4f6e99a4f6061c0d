package sim

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/peapod-sh/peapod/agent/runtime"
)

var _ runtime.Executor = (*Executor)(nil)

// exitsMax is how many ends the channel holds before they wait in the queue: a handful, since thousands
// of nodes each have one.
const exitsMax = 4

// Executor is one simulated node. The zero value is not usable; call New.
type Executor struct {
	delay time.Duration
	now   func() time.Time

	mu     sync.Mutex
	pods   map[string]*pod
	owners map[string]*pod // container id -> its pod
	queue  []runtime.Container
	listed bool
	closed bool
	wake   chan struct{} // capacity 1: a token means that queue may have changed
	exits  chan runtime.Container
	stop   chan struct{}
	done   chan struct{} // nil until the delivering goroutine runs
}

// pod keeps its few containers in a slice: a map a pod would cost more than the containers.
type pod struct {
	uid, namespace, name string
	created              time.Time
	containers           []container
}

// container has only what List must tell.
type container struct {
	id, name          string
	attempt           int
	started, finished time.Time
	code              int
	signal            int
}

// New makes a node whose containers need delay to start; 0 is at once.
func New(delay time.Duration) *Executor {
	return &Executor{
		delay: delay, now: time.Now,
		pods: map[string]*pod{}, owners: map[string]*pod{},
		wake: make(chan struct{}, 1), exits: make(chan runtime.Container, exitsMax), stop: make(chan struct{}),
	}
}

// StartSandbox implements runtime.Executor.
func (e *Executor) StartSandbox(ctx context.Context, spec runtime.SandboxSpec) (runtime.Sandbox, error) {
	if err := ctx.Err(); err != nil {
		return runtime.Sandbox{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.pods[spec.PodUID]
	if p == nil {
		p = &pod{uid: spec.PodUID, namespace: spec.Namespace, name: spec.Name, created: e.now()}
		e.pods[spec.PodUID] = p
	}
	return p.state(), nil
}

func (p *pod) state() runtime.Sandbox {
	s := runtime.Sandbox{PodUID: p.uid, Namespace: p.namespace, Name: p.name, Created: p.created}
	for i := range p.containers {
		s.Containers = append(s.Containers, p.containers[i].state(p.uid))
	}
	return s
}

func (c *container) state(uid string) runtime.Container {
	return runtime.Container{
		ID: c.id, PodUID: uid, Name: c.name, Attempt: c.attempt, Started: c.started,
		Running: c.finished.IsZero(), Finished: c.finished, ExitCode: c.code, Signal: c.signal,
	}
}

// StartContainer implements runtime.Executor.
func (e *Executor) StartContainer(ctx context.Context, spec runtime.ContainerSpec) (runtime.Container, error) {
	if err := e.pause(ctx); err != nil {
		return runtime.Container{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.pods[spec.PodUID]
	if p == nil {
		return runtime.Container{}, fmt.Errorf("sandbox %s: %w", spec.PodUID, runtime.ErrNotFound)
	}
	if c := p.find(spec.ID); c != nil {
		return c.state(p.uid), nil
	}
	p.containers = append(p.containers, container{id: spec.ID, name: spec.Name, attempt: spec.Attempt, started: e.now()})
	e.owners[spec.ID] = p
	return p.containers[len(p.containers)-1].state(p.uid), nil
}

func (e *Executor) pause(ctx context.Context) error {
	if e.delay <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(e.delay)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *pod) find(id string) *container {
	for i := range p.containers {
		if p.containers[i].id == id {
			return &p.containers[i]
		}
	}
	return nil
}

// find expects e.mu.
func (e *Executor) find(id string) (*pod, *container, error) {
	p := e.owners[id]
	if p == nil {
		return nil, nil, fmt.Errorf("container %s: %w", id, runtime.ErrNotFound)
	}
	return p, p.find(id), nil
}

// Signal implements runtime.Executor. TERM and INT end a container with 0, as a well-behaved server would;
// KILL and others that nobody catches with 128 and their number.
func (e *Executor) Signal(_ context.Context, id string, sig syscall.Signal) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, c, err := e.find(id)
	if err != nil {
		return err
	}
	if !c.finished.IsZero() {
		return fmt.Errorf("container %s: %w", id, runtime.ErrNotRunning)
	}
	switch sig {
	case syscall.SIGTERM, syscall.SIGINT:
		e.end(p, c, 0, 0)
	case 0, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGWINCH:
	default:
		e.end(p, c, 128+int(sig), int(sig))
	}
	return nil
}

// End lets a container end by itself, for tests of what follows.
func (e *Executor) End(id string, code int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, c, err := e.find(id)
	if err != nil {
		return err
	}
	if c.finished.IsZero() {
		e.end(p, c, code, 0)
	}
	return nil
}

// end expects e.mu.
func (e *Executor) end(p *pod, c *container, code, signal int) {
	c.finished, c.code, c.signal = e.now(), code, signal
	e.queue = append(e.queue, c.state(p.uid))
	e.poke()
}

func (e *Executor) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// RemoveContainer implements runtime.Executor.
func (e *Executor) RemoveContainer(_ context.Context, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, c, err := e.find(id)
	if errors.Is(err, runtime.ErrNotFound) {
		return nil
	}
	if c.finished.IsZero() {
		return fmt.Errorf("container %s still runs: signal it first", id)
	}
	for i := range p.containers {
		if p.containers[i].id == id {
			p.containers = append(p.containers[:i], p.containers[i+1:]...)
			break
		}
	}
	delete(e.owners, id)
	return nil
}

// RemoveSandbox implements runtime.Executor.
func (e *Executor) RemoveSandbox(_ context.Context, uid string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.pods[uid]
	if p == nil {
		return nil
	}
	for i := range p.containers {
		c := &p.containers[i]
		if c.finished.IsZero() {
			e.end(p, c, 128+int(syscall.SIGKILL), int(syscall.SIGKILL))
		}
		delete(e.owners, c.id)
	}
	delete(e.pods, uid)
	return nil
}

// Exec implements runtime.Executor: every command succeeds in a running container and says nothing.
func (e *Executor) Exec(_ context.Context, id string, _ runtime.ExecSpec) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, c, err := e.find(id)
	if err != nil {
		return -1, err
	}
	if !c.finished.IsZero() {
		return -1, fmt.Errorf("container %s: %w", id, runtime.ErrNotRunning)
	}
	return 0, nil
}

// Resize implements runtime.Executor: there is nothing to limit.
func (e *Executor) Resize(_ context.Context, uid, id string, _ runtime.Resources) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if id == "" {
		_, err := e.findPod(uid)
		return err
	}
	_, c, err := e.find(id)
	if err == nil && !c.finished.IsZero() {
		return fmt.Errorf("container %s: %w", id, runtime.ErrNotRunning)
	}
	return err
}

// Stats implements runtime.Executor: what does not exist uses nothing.
func (e *Executor) Stats(_ context.Context, uid string) (runtime.PodStats, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, err := e.findPod(uid)
	if err != nil {
		return runtime.PodStats{}, err
	}
	none := runtime.Usage{Time: e.now()}
	out := runtime.PodStats{Usage: none, Containers: map[string]runtime.Usage{}}
	for i := range p.containers {
		if c := &p.containers[i]; c.finished.IsZero() {
			out.Containers[c.id] = none
		}
	}
	return out, nil
}

// findPod expects e.mu.
func (e *Executor) findPod(uid string) (*pod, error) {
	if p := e.pods[uid]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("sandbox %s: %w", uid, runtime.ErrNotFound)
}

// List implements runtime.Executor.
func (e *Executor) List(ctx context.Context) ([]runtime.Sandbox, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]runtime.Sandbox, 0, len(e.pods))
	for _, p := range e.pods {
		out = append(out, p.state())
	}
	if !e.listed && !e.closed {
		e.listed = true
		e.done = make(chan struct{})
		go e.deliver() // ends by Close, which waits
	}
	return out, nil
}

func (e *Executor) deliver() {
	defer close(e.done)
	defer close(e.exits)
	for {
		e.mu.Lock()
		batch := e.queue
		e.queue = nil
		e.mu.Unlock()
		for _, c := range batch {
			select {
			case e.exits <- c:
			case <-e.stop:
				return
			}
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-e.wake:
		case <-e.stop:
			return
		}
	}
}

// Exits implements runtime.Executor.
func (e *Executor) Exits() <-chan runtime.Container { return e.exits }

// Close ends the executor and its channel.
func (e *Executor) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	done := e.done
	e.mu.Unlock()
	close(e.stop)
	if done != nil {
		<-done
	} else {
		close(e.exits)
	}
	return nil
}
