package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// behaviour of one start of a container in the scripted executor.
type behaviour struct {
	runs      time.Duration // 0 is for ever
	code      int
	onTerm    time.Duration // how long it takes to end after TERM; negative never does
	startFail error
}

// scripted is an executor without processes: a script says how each start behaves. It outlives agents.
type scripted struct {
	script func(name string, attempt int) behaviour

	mu      sync.Mutex
	boxes   map[string]*runtime.Sandbox
	exits   chan runtime.Container
	starts  map[string]int // by container ID
	failed  []string       // that did not start, since the agent is there
	running map[string]behaviour
	signals []string // "NAME SIGNAL"
	specs   map[string]runtime.ContainerSpec
	faults  []string // broken invariants
	latency time.Duration
	execs   func(args []string) (int, error)

	resizes   []string // "NAME cpu=SHARES/QUOTA memory=BYTES"; a pod has no name
	resizeErr error
}

func newScripted(script func(string, int) behaviour) *scripted {
	if script == nil {
		script = func(string, int) behaviour { return behaviour{} }
	}
	return &scripted{
		script: script, boxes: map[string]*runtime.Sandbox{}, exits: make(chan runtime.Container, 1<<16),
		starts: map[string]int{}, running: map[string]behaviour{}, specs: map[string]runtime.ContainerSpec{},
	}
}

func (s *scripted) fault(format string, args ...any) {
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

func (s *scripted) wait(ctx context.Context) error {
	if s.latency == 0 {
		return nil
	}
	sleep(ctx, s.latency)
	return ctx.Err()
}

func (s *scripted) StartSandbox(ctx context.Context, spec runtime.SandboxSpec) (runtime.Sandbox, error) {
	if err := s.wait(ctx); err != nil {
		return runtime.Sandbox{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.boxes[spec.PodUID]; b != nil {
		return *b, nil
	}
	b := &runtime.Sandbox{PodUID: spec.PodUID, Namespace: spec.Namespace, Name: spec.Name, NetNS: "/netns/" + spec.PodUID, Created: time.Now()}
	s.boxes[spec.PodUID] = b
	return *b, nil
}

// reboot forgets all that lives in the kernel.
func (s *scripted) reboot() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.boxes)
	clear(s.running)
}

func (s *scripted) RemoveSandbox(ctx context.Context, uid string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.boxes[uid]; b != nil {
		for _, c := range b.Containers {
			delete(s.running, c.ID)
		}
	}
	delete(s.boxes, uid)
	return nil
}

func (s *scripted) StartContainer(ctx context.Context, spec runtime.ContainerSpec) (runtime.Container, error) {
	if err := s.wait(ctx); err != nil {
		return runtime.Container{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.boxes[spec.PodUID]
	if b == nil {
		return runtime.Container{}, errors.New("no sandbox")
	}
	for _, c := range b.Containers {
		if c.Name == spec.Name && c.Running {
			s.fault("%s started while it runs", spec.Name)
		}
	}
	if s.starts[spec.ID]++; s.starts[spec.ID] > 1 {
		s.fault("%s attempt %d started twice", spec.Name, spec.Attempt)
	}
	how := s.script(spec.Name, spec.Attempt)
	if how.startFail != nil {
		s.failed = append(s.failed, spec.ID)
		return runtime.Container{}, how.startFail
	}
	c := runtime.Container{ID: spec.ID, PodUID: spec.PodUID, Name: spec.Name, Attempt: spec.Attempt, Running: true, Started: time.Now()}
	b.Containers = append(b.Containers, c)
	s.running[c.ID], s.specs[spec.Name] = how, spec
	if how.runs > 0 {
		time.AfterFunc(how.runs, func() { s.end(spec.PodUID, c.ID, how.code, 0) })
	}
	return c, nil
}

// forgive lets what failed to start be tried once more: an agent that ends at that moment has told nobody, and nothing of it ran.
func (s *scripted) forgive() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.failed {
		delete(s.starts, id)
	}
	s.failed = nil
}

// end ends a container unless it has ended before.
func (s *scripted) end(uid, id string, code, sig int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.running[id]; !ok {
		return
	}
	delete(s.running, id)
	for i := range s.boxes[uid].Containers {
		if c := &s.boxes[uid].Containers[i]; c.ID == id {
			c.Running, c.Finished, c.ExitCode, c.Signal = false, time.Now(), code, sig
			s.exits <- *c
		}
	}
}

func (s *scripted) uidOf(id string) (uid, name string) {
	for u, b := range s.boxes {
		for _, c := range b.Containers {
			if c.ID == id {
				return u, c.Name
			}
		}
	}
	return "", ""
}

func (s *scripted) Signal(ctx context.Context, id string, sig syscall.Signal) error {
	s.mu.Lock()
	uid, name := s.uidOf(id)
	how, ok := s.running[id]
	s.signals = append(s.signals, name+" "+sig.String())
	s.mu.Unlock()
	if !ok {
		return nil
	}
	switch {
	case sig == syscall.SIGKILL:
		s.end(uid, id, 137, 9)
	case how.onTerm == 0:
		s.end(uid, id, 143, 15)
	case how.onTerm > 0:
		time.AfterFunc(how.onTerm, func() { s.end(uid, id, 0, 0) })
	}
	return nil
}

func (s *scripted) RemoveContainer(ctx context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.running[id]; ok {
		s.fault("%s removed while it runs", id)
	}
	for _, b := range s.boxes {
		for i, c := range b.Containers {
			if c.ID == id {
				b.Containers = append(b.Containers[:i:i], b.Containers[i+1:]...)
				return nil
			}
		}
	}
	return nil
}

func (s *scripted) Exec(ctx context.Context, id string, spec runtime.ExecSpec) (int, error) {
	if s.execs == nil {
		return 0, nil
	}
	if spec.Args[0] == "hang" {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return s.execs(spec.Args)
}

func (s *scripted) Resize(ctx context.Context, uid, id string, r runtime.Resources) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.resizeErr != nil && id != "" {
		return s.resizeErr
	}
	_, name := s.uidOf(id)
	s.resizes = append(s.resizes, fmt.Sprintf("%s cpu=%d/%d memory=%d", name, r.CPUShares, r.CPUQuota, r.MemoryBytes))
	return nil
}

func (s *scripted) Stats(ctx context.Context, uid string) (runtime.PodStats, error) {
	return runtime.PodStats{}, nil
}

func (s *scripted) List(ctx context.Context) ([]runtime.Sandbox, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []runtime.Sandbox
	for _, b := range s.boxes {
		c := *b
		c.Containers = append([]runtime.Container(nil), b.Containers...)
		out = append(out, c)
	}
	return out, nil
}

func (s *scripted) Exits() <-chan runtime.Container { return s.exits }

func (s *scripted) runningNames() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, b := range s.boxes {
		for _, c := range b.Containers {
			if c.Running {
				out = append(out, c.Name)
			}
		}
	}
	return strings.Join(out, " ")
}

func (s *scripted) signalled() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.signals, ", ")
}
