package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/agent/pressure"
	"github.com/peapod-sh/peapod/agent/probe"
	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/usage"
	"github.com/peapod-sh/peapod/agent/volume"
)

// Config says what an agent is made of. Time is the process's own clock: tests rule it with testing/synctest.
type Config struct {
	NodeName string
	NodeIPs  []netip.Addr
	// DataDir holds pods/ and logs/. Empty keeps nothing on disk: no volumes, logs or hosts files, and an
	// agent that starts again knows only what the executor and the API server know (for sim nodes).
	DataDir string

	Executor     runtime.Executor
	Images       Images
	Network      Network
	ControlPlane ControlPlane

	// DNS is the cluster's name server and ClusterDomain the domain of its services ("cluster.local").
	DNS           []netip.Addr
	ClusterDomain string
	// Services lists a namespace's services, for the environment of containers; nil means none.
	Services func(namespace string) []*corev1.Service

	// Eviction says when the node is under pressure; with none, nothing is watched. ImagesDir is where images are kept.
	Eviction  []pressure.Threshold
	ImagesDir string

	// Version is shown in the Node object, and so is Runtime, "peapod://" and Version if empty; PodsMax is 110 if zero.
	Version string
	Runtime string
	PodsMax int64
	// PodPidsMax bounds the processes of a pod; 0 is no bound of its own.
	PodPidsMax int64
	// UnsafeSysctls may be set by pods beside the safe ones: names, or prefixes that end in *.
	UnsafeSysctls []string
	// RecursiveReadOnly says that the executor can make a mount and all below it read-only.
	RecursiveReadOnly bool
	// Handlers are what RuntimeClasses may ask the executor for, beside its default.
	Handlers []string
	// Withdrawn, if not nil, waits until no node sends a pod, which is to end, new connections of services, or until ctx ends.
	Withdrawn func(ctx context.Context, pod *corev1.Pod) error
	// PodChanged, if not nil, is called when Pods may have other addresses than before, or other host ports. It must not block.
	PodChanged func(hostPorts bool)
	// Quiet records no Normal events (for sim nodes by the thousand).
	Quiet  bool
	Logger hclog.Logger
}

// Agent runs the pods of one node.
type Agent struct {
	cfg    Config
	log    hclog.Logger
	node   *nodeFacts
	writer *statusWriter
	events *recorder
	prober *probe.Prober
	vols   *volume.Store
	meter  *usage.Meter
	ends   *volumeEnds
	// fencing is nil if the node cannot guard pods.
	fencing *fencing
	slots   chan struct{} // capacity startsAtOnce: one held by each sandbox or container being started

	ctx     context.Context // of Run
	workers sync.WaitGroup
	synced  chan struct{} // closed by the first Synced

	room      room
	restoring atomic.Int32      // workers that have not yet said what their pods have of the room
	pressure  *pressure.Manager // nil if nothing is watched

	mu       sync.Mutex
	running  bool
	isSynced bool
	closed   bool
	pods     map[types.UID]*worker
	found    map[types.UID]runtime.Sandbox // what List told, until a pod claims it
	seen     map[types.UID]bool            // pods put since BeginSync
}

// New makes an agent; nothing happens before Run.
func New(cfg Config) *Agent {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	if cfg.ClusterDomain == "" {
		cfg.ClusterDomain = "cluster.local"
	}
	if cfg.PodsMax == 0 {
		cfg.PodsMax = 110
	}
	a := &Agent{
		cfg: cfg, log: cfg.Logger.Named("agent"),
		node:   newNodeFacts(cfg.DataDir),
		slots:  make(chan struct{}, startsAtOnce),
		synced: make(chan struct{}),
		pods:   map[types.UID]*worker{},
		found:  map[types.UID]runtime.Sandbox{},
		seen:   map[types.UID]bool{},
	}
	a.room.whole = shareOfList(a.node.allocatable(cfg.PodsMax))
	a.writer = newStatusWriter(cfg.ControlPlane, a.log)
	a.events = newRecorder(cfg.NodeName, a.writer, cfg.Quiet)
	a.prober = probe.New(a.runProbeExec, a.heard)
	a.meter = usage.New(usage.Config{Node: cfg.NodeName, Pods: a.Pods, Logger: a.log,
		Stats: func(ctx context.Context, uid string) (runtime.PodStats, error) { return cfg.Executor.Stats(ctx, uid) }})
	if len(cfg.Eviction) > 0 {
		a.pressure = pressure.New(pressedNode{a}, cfg.Eviction, a.log.Named("pressure"))
	}
	a.vols = &volume.Store{Root: filepath.Join(cfg.DataDir, "pods"), Local: a.localVolumes(), NodeName: cfg.NodeName,
		Source: objects{cfg.ControlPlane}, NodeAllocatable: a.node.allocatable(cfg.PodsMax), Layers: a.volumeLayers,
		MemoryLimit: func(p *corev1.Pod) int64 { return podResources(p).MemoryBytes }}
	a.ends = newVolumeEnds(a)
	a.fencing = newFencing(a)
	return a
}

// Put tells the agent of a pod of this node as it should be now.
func (a *Agent) Put(pod *corev1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	a.seen[pod.UID] = true
	if w := a.pods[pod.UID]; w != nil {
		w.post(evDesired{pod})
		return
	}
	a.addLocked(newWorker(a, pod))
}

// Remove tells the agent that the cluster has forgotten the pod: whatever is left of it goes.
func (a *Agent) Remove(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.seen, uid)
	if w := a.pods[uid]; w != nil {
		w.post(evRemoved{})
	}
}

// BeginSync is called when a watch starts over: pods not Put between it and Synced are gone.
func (a *Agent) BeginSync() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.seen)
}

// Knowing is closed once the agent knows which pods its node should have.
func (a *Agent) Knowing() <-chan struct{} { return a.synced }

// Synced says that every pod of the node has been Put. Pods and sandboxes that were not are orphans and
// are cleaned up. No container is started before the first Synced, so that services are known by then.
func (a *Agent) Synced() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.isSynced {
		a.isSynced = true
		close(a.synced)
		for _, w := range a.pods {
			w.post(evWake{})
		}
	}
	for uid, w := range a.pods {
		if !a.seen[uid] {
			w.post(evRemoved{})
		}
	}
	if a.running {
		a.removeOrphansLocked()
	}
}

// removeOrphansLocked gives every unclaimed sandbox a worker whose pod is gone already.
func (a *Agent) removeOrphansLocked() {
	for uid, sb := range a.found {
		a.log.Info("removing a pod that the cluster does not know", "namespace", sb.Namespace, "pod", sb.Name, "uid", uid)
		w := newWorker(a, orphanPod(sb))
		w.life.removed = true
		a.addLocked(w)
	}
	if a.cfg.DataDir == "" {
		return
	}
	for _, uid := range a.vols.Known() {
		if a.pods[types.UID(uid)] != nil {
			continue
		}
		if err := a.vols.Remove(uid); err != nil {
			a.log.Warn("removing the files of a pod that is gone", "uid", uid, "error", err)
		}
	}
	a.removeStrayLogs()
}

// removeStrayLogs removes logs of pods that nobody knows any more. A directory's name ends in the UID.
func (a *Agent) removeStrayLogs() {
	root := filepath.Join(a.cfg.DataDir, "logs", "pods")
	list, err := os.ReadDir(root)
	if err != nil {
		return // there is nothing to remove
	}
	for _, e := range list {
		uid := e.Name()[strings.LastIndexByte(e.Name(), '_')+1:]
		if a.pods[types.UID(uid)] != nil {
			continue
		}
		if err := os.RemoveAll(filepath.Join(root, e.Name())); err != nil {
			a.log.Warn("removing the logs of a pod that is gone", "uid", uid, "error", err)
		}
	}
}

func (a *Agent) addLocked(w *worker) {
	a.pods[w.uid] = w
	if a.running {
		a.startLocked(w)
	}
}

func (a *Agent) startLocked(w *worker) {
	sb, ok := a.found[w.uid]
	delete(a.found, w.uid)
	if ok {
		w.found = &sb
	}
	a.restoring.Add(1)
	a.workers.Go(w.run)
}

// forget is called by a worker that has nothing left to do.
func (a *Agent) forget(w *worker) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pods[w.uid] == w {
		delete(a.pods, w.uid)
	}
	a.writer.forget(w.uid)
	a.fencing.forget(w.uid)
}

// Run serves until ctx ends. Containers go on running after it.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := a.adopt(ctx); err != nil {
		return err
	}
	a.events.started()
	var loops sync.WaitGroup
	loops.Go(func() { a.writer.run(ctx) })
	loops.Go(func() { a.prober.Run(ctx) })
	loops.Go(func() { a.events.run(ctx) })
	loops.Go(func() { a.rotateLogs(ctx) })
	if a.pressure != nil {
		loops.Go(func() { a.pressure.Run(ctx) })
	}
	if a.cfg.DataDir != "" {
		loops.Go(func() { a.watchDisk(ctx) })
	}
	loops.Go(func() { a.ends.run(ctx) })
	if a.fencing != nil {
		loops.Go(func() { a.fencing.run(ctx) })
	}
	err := a.hearExits(ctx)
	cancel()
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.workers.Wait()
	loops.Wait()
	return err
}

// adopt reads what an earlier agent left and starts the workers of the pods known so far.
func (a *Agent) adopt(ctx context.Context) error {
	if a.cfg.DataDir != "" {
		for _, d := range []string{"pods", "logs/pods"} {
			if err := os.MkdirAll(filepath.Join(a.cfg.DataDir, d), 0o755); err != nil {
				return fmt.Errorf("making the agent's directories: %w", err)
			}
		}
	}
	list, err := a.cfg.Executor.List(ctx)
	if err != nil {
		return fmt.Errorf("listing what runs on this node: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ctx, a.running = ctx, true
	for _, sb := range list {
		a.found[types.UID(sb.PodUID)] = sb
	}
	for _, w := range a.pods {
		a.startLocked(w)
	}
	if a.isSynced {
		a.removeOrphansLocked()
	}
	return nil
}

// hearExits delivers the ends of containers to their pods.
func (a *Agent) hearExits(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case c, ok := <-a.cfg.Executor.Exits():
			if !ok {
				if ctx.Err() != nil {
					return nil
				}
				return errors.New("the executor stopped")
			}
			a.exited(c)
		}
	}
}

func (a *Agent) exited(c runtime.Container) {
	a.mu.Lock()
	defer a.mu.Unlock()
	uid := types.UID(c.PodUID)
	if w := a.pods[uid]; w != nil {
		w.post(evExit{c})
		return
	}
	if sb, ok := a.found[uid]; ok { // no pod claims it yet: keep the news where its worker will look
		for i := range sb.Containers {
			if sb.Containers[i].ID == c.ID {
				sb.Containers[i] = c
			}
		}
	}
}

// heard delivers a probe's verdict.
func (a *Agent) heard(r probe.Report) {
	a.mu.Lock()
	w := a.pods[types.UID(r.PodUID)]
	a.mu.Unlock()
	if w != nil {
		w.post(evProbe{r})
	}
}
