package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/runtime/ends"
	"github.com/peapod-sh/peapod/internal/cinit"
)

var _ runtime.Executor = (*Executor)(nil)

// Config is what an executor needs to know about its node.
type Config struct {
	StateDir      string // absolute; outside the directory of the running binary and not above it
	CgroupParent  string // such as peapod/NODE: distinct for nodes that share a machine
	SupervisorDir string // of the supervisor that started this process, or will be started
	Logger        hclog.Logger
}

// Executor makes sandboxes and containers out of kernel parts.
type Executor struct {
	cfg     Config
	log     hclog.Logger
	cgroups cgroupLayout
	visor   *visor
	watch   *ends.Watcher
	starts  chan struct{} // a slot for each container being made
	out     *ends.Outbox
	init    *os.File // the small program that containers begin as; nil if they begin as this one

	envs sync.Mutex // held while the place for environments is made, filled or taken away

	mu         sync.Mutex
	pods       map[string]*pod             // by uid
	containers map[string]*container       // by id
	filters    map[[32]byte]compiledFilter // by the hash of the profile
	guarded    map[string]bool             // uids of pods that the supervisor guards
	ranges     map[uint32]string           // first ids of user namespaces, and the pods that have them
	closed     bool
}

// New checks that this machine can run containers, takes up what an earlier executor left in StateDir
// and cleans up what a reboot has made stale.
func New(cfg Config) (*Executor, error) {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	if err := checkConfig(&cfg); err != nil {
		return nil, err
	}
	if err := checkMachine(cfg.StateDir); err != nil {
		return nil, err
	}
	e := &Executor{
		cfg:        cfg,
		log:        cfg.Logger,
		cgroups:    newCgroupLayout(cfg.CgroupParent),
		starts:     make(chan struct{}, startsMax),
		out:        ends.NewOutbox(),
		pods:       map[string]*pod{},
		containers: map[string]*container{},
		guarded:    map[string]bool{},
		ranges:     map[uint32]string{},
		filters:    map[[32]byte]compiledFilter{},
	}
	if err := e.open(); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *Executor) open() (err error) {
	if e.init, err = cinit.Open(e.cfg.StateDir); err != nil {
		e.log.Warn("containers start slowly", "err", err)
	}
	if e.visor, err = newVisor(e.cfg.SupervisorDir); err != nil {
		return err
	}
	if e.watch, err = ends.NewWatcher(e.ended); err != nil {
		return errors.Join(err, e.visor.close())
	}
	if err := e.recover(); err != nil {
		return errors.Join(fmt.Errorf("taking up the containers in %s: %w", e.cfg.StateDir, err), e.watch.Close(), e.visor.close())
	}
	return nil
}

func checkConfig(cfg *Config) error {
	for what, dir := range map[string]string{"state": cfg.StateDir, "supervisor": cfg.SupervisorDir} {
		if !filepath.IsAbs(dir) {
			return fmt.Errorf("the %s directory %q of the container runtime is not absolute", what, dir)
		}
	}
	cfg.CgroupParent = strings.Trim(filepath.Clean("/"+cfg.CgroupParent), "/")
	if cfg.CgroupParent == "" {
		return errors.New("the container runtime needs a cgroup parent, such as peapod/NODE")
	}
	for _, sub := range []string{"pods", "containers", "runc"} {
		if err := os.MkdirAll(filepath.Join(cfg.StateDir, sub), 0o711); err != nil {
			return fmt.Errorf("making the container runtime's state directory: %w", err)
		}
	}
	var err error
	// A root file system must not be reached by a symbolic link, but a node's data may be.
	if cfg.StateDir, err = filepath.EvalSymlinks(cfg.StateDir); err != nil {
		return fmt.Errorf("finding the container runtime's state directory: %w", err)
	}
	return nil
}

// Exits implements runtime.Executor.
func (e *Executor) Exits() <-chan runtime.Container { return e.out.Exits() }

// Close ends the executor and its channel. Containers go on running, and the next New takes them up.
func (e *Executor) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	e.mu.Unlock()
	err := e.watch.Close()
	e.out.Close()
	e.mu.Lock()
	defer e.mu.Unlock()
	closeFiles([]*os.File{e.init})
	for _, c := range e.containers {
		c.closeFiles()
	}
	for _, p := range e.pods {
		p.closeFiles()
	}
	return errors.Join(err, e.visor.close())
}

// SupervisorReady tells the supervisor that this agent serves. See supervisor.Client.Ready.
func (e *Executor) SupervisorReady() error { return e.visor.ready() }

func (e *Executor) podDir(uid string) string { return filepath.Join(e.cfg.StateDir, "pods", uid) }
func (e *Executor) containerDir(id string) string {
	return filepath.Join(e.cfg.StateDir, "containers", id)
}
func (e *Executor) runcRoot() string { return filepath.Join(e.cfg.StateDir, "runc") }

func (e *Executor) findContainer(id string) (*container, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containers[id]
	if c == nil {
		return nil, fmt.Errorf("container %s: %w", id, runtime.ErrNotFound)
	}
	return c, nil
}
