package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/rpc/fence"
	"github.com/peapod-sh/peapod/rpc/wire"
)

// LeaseSource is implemented by a ControlPlane that gives the node leases. Without it, or with an executor that is no
// runtime.Guard, no pod is guarded, and the cluster does not replace those that must not run twice.
type LeaseSource interface {
	// Lease asks for one.
	Lease(ctx context.Context) (*wire.LeaseReply, error)
	// GetSince reads an object as of an index of the log, or newer.
	GetSince(ctx context.Context, index uint64, resource, namespace, name string) (obj []byte, found bool, err error)
}

// fencing keeps the node's lease while pods need one. The executor stops them when it ends; this only keeps that from happening,
// and tells of it.
type fencing struct {
	guard  runtime.Guard
	source LeaseSource
	agent  *Agent
	clock  func() time.Duration // CLOCK_BOOTTIME
	log    hclog.Logger
	wanted chan struct{} // capacity 1: somebody waits for a lease

	mu      sync.Mutex
	lease   fence.Lease
	index   uint64 // of the log: what was taken from this node before the lease is in it
	length  time.Duration
	off     bool
	waiting int
	pods    map[types.UID]guardState
	changed chan struct{} // closed and replaced by every answer
}

// guardState is what is known of a guarded pod.
type guardState uint8

const (
	guardSaid    guardState = iota // an earlier agent said so; the executor has not yet
	guardRuns                      // it may run
	guardStopped                   // it was stopped
)

// newFencing is nil if the node cannot guard pods.
func newFencing(a *Agent) *fencing {
	guard, ok := a.cfg.Executor.(runtime.Guard)
	source, asks := a.cfg.ControlPlane.(LeaseSource)
	if !ok || !asks {
		return nil
	}
	return &fencing{guard: guard, source: source, agent: a, clock: bootTime, log: a.log.Named("fencing"),
		wanted: make(chan struct{}, 1), pods: map[types.UID]guardState{}, changed: make(chan struct{})}
}

func bootTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 1<<63 - 1 // no lease lasts so long
	}
	return time.Duration(t.Nano())
}

// run renews the lease until ctx ends, while a pod needs it.
func (f *fencing) run(ctx context.Context) {
	f.look(0, false) // an earlier agent may have left guarded pods
	for {
		var due <-chan time.Time
		if f.needed() {
			due = time.After(f.renew(ctx))
		}
		select {
		case <-due:
		case <-f.wanted:
		case <-ctx.Done():
			return
		}
	}
}

func (f *fencing) needed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting > 0 || len(f.pods) > 0
}

// renew asks once and says when to ask again.
func (f *fencing) renew(ctx context.Context) time.Duration {
	asked := f.clock()
	ask, cancel := context.WithTimeout(ctx, leaseTimeout)
	reply, err := f.source.Lease(ask)
	cancel()
	if err != nil {
		f.log.Debug("no lease", "error", err)
		f.look(0, false)
		return leasePause
	}
	until, unbroken := f.granted(asked, reply)
	f.look(until, unbroken)
	if reply.Length == 0 {
		return leaseTimeout
	}
	return reply.Renew
}

// granted takes an answer over. Unbroken says that the lease before it has not ended.
func (f *fencing) granted(asked time.Duration, reply *wire.LeaseReply) (until time.Duration, unbroken bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	unbroken = f.lease.Valid(f.clock())
	f.lease.Renew(asked, reply.Length)
	f.index, f.length, f.off = reply.Index, reply.Length, reply.Length == 0
	close(f.changed)
	f.changed = make(chan struct{})
	return f.lease.Until(), unbroken
}

// look hands the lease to the executor and draws the conclusions from what it says of the pods.
func (f *fencing) look(until time.Duration, unbroken bool) {
	before := f.known() // a pod that is guarded meanwhile may not be in the answer
	states, err := f.guard.ExtendLease(until)
	if err != nil {
		f.log.Warn("cannot reach the supervisor; it stops the pods when their lease ends", "error", err)
		return
	}
	for uid, runs := range states {
		f.noted(types.UID(uid), runs)
	}
	for uid, state := range before {
		if _, there := states[string(uid)]; !there {
			f.lost(uid, state == guardRuns && unbroken)
		}
	}
}

// noted takes over what the executor says of a pod, and tells the pod's owner if it is news.
func (f *fencing) noted(uid types.UID, runs bool) {
	state := guardStopped
	if runs {
		state = guardRuns
	}
	f.mu.Lock()
	old, known := f.pods[uid]
	f.pods[uid] = state
	length := f.length
	f.mu.Unlock()
	if !known || old != state {
		f.agent.tell(uid, evGuarded{stopped: !runs, after: length})
	}
}

// lost has a pod guarded anew by a supervisor that took the place of one that died, as long as the lease never ended; else the
// pod has run without a guard, and is ended.
func (f *fencing) lost(uid types.UID, unbroken bool) {
	f.mu.Lock()
	_, still := f.pods[uid]
	until := f.lease.Until()
	f.mu.Unlock()
	if !still || unbroken && f.guard.GuardPod(string(uid), until) == nil {
		return
	}
	f.log.Warn("nobody guards a pod that runs", "uid", uid)
	f.forget(uid)
	f.agent.tell(uid, evUnguarded{})
}

func (f *fencing) known() map[types.UID]guardState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.pods)
}

// claim notes that a pod is guarded, as an earlier agent has written.
func (f *fencing) claim(uid types.UID) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.pods[uid]; !known {
		f.pods[uid] = guardSaid
	}
	f.poke()
}

// forget ends what is known of a pod that is gone.
func (f *fencing) forget(uid types.UID) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pods, uid)
}

func (f *fencing) poke() {
	select {
	case f.wanted <- struct{}{}:
	default:
	}
}

// await waits for a lease, and returns its end and the index of the log to read at; off says that the cluster does without.
func (f *fencing) await(ctx context.Context) (until time.Duration, index uint64, off bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting++
	defer func() { f.waiting-- }()
	f.off = false
	for !f.lease.Valid(f.clock()) && !f.off {
		changed := f.changed
		f.poke()
		f.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		f.mu.Lock()
		if ctx.Err() != nil {
			return 0, 0, false, ctx.Err()
		}
	}
	return f.lease.Until(), f.index, f.off, nil
}

// admit waits until a pod may start, and has it guarded if it must not run twice. That it is still this node's is read as of
// the lease: a leader that gave it away did so while this node had none, and before it gave this one.
func (f *fencing) admit(ctx context.Context, pod *corev1.Pod) (guarded bool, err error) {
	if f == nil {
		return false, nil
	}
	what, err := api.ReplacementOf(pod, storage{ctx, f.agent.cfg.ControlPlane})
	if err != nil {
		return false, &configError{err}
	}
	for what == api.MovesFenced {
		until, index, off, err := f.await(ctx)
		if err != nil || off {
			return false, err
		}
		if err := f.stillOurs(ctx, index, pod); err != nil {
			return false, &configError{err}
		}
		err = f.guard.GuardPod(string(pod.UID), until)
		if err == nil {
			f.started(pod.UID)
			return true, nil
		}
		if !errors.Is(err, runtime.ErrNoLease) {
			return false, err
		}
	}
	return false, nil
}

func (f *fencing) started(uid types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pods[uid] = guardRuns
	f.poke()
}

func (f *fencing) stillOurs(ctx context.Context, index uint64, pod *corev1.Pod) error {
	b, found, err := f.source.GetSince(ctx, index, "pods", pod.Namespace, pod.Name)
	if err != nil {
		return fmt.Errorf("asking whether the pod is still this node's: %w", err)
	}
	now := &corev1.Pod{}
	if found {
		if err := now.Unmarshal(b); err != nil {
			return fmt.Errorf("reading the pod: %w", err)
		}
	}
	if now.UID != pod.UID {
		return errors.New("the pod is no longer this node's: it was replaced or deleted while the node was away")
	}
	return nil
}

// storage reads claims and volumes through the control plane.
type storage struct {
	ctx     context.Context
	control ControlPlane
}

// Claim implements api.Storage.
func (s storage) Claim(namespace, name string) (*corev1.PersistentVolumeClaim, error) {
	c, found, err := objects{s.control}.Claim(s.ctx, namespace, name)
	if err == nil && !found {
		// A node reads only what its pods name: what is not shown to it any more may be the claim of a pod that has been moved.
		err = fmt.Errorf("claim %s is not there for this node, so whether the pod may run is not known", name)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Volume implements api.Storage.
func (s storage) Volume(name string) (*corev1.PersistentVolume, error) {
	if name == "" {
		return nil, nil
	}
	v, found, err := objects{s.control}.Volume(s.ctx, name)
	if !found {
		return nil, err
	}
	return v, err
}

// evGuarded tells a pod's owner that it is guarded, and whether it was stopped because no leader was heard of for so long.
type evGuarded struct {
	stopped bool
	after   time.Duration
}

// evUnguarded tells it that nobody would stop its pod any more.
type evUnguarded struct{}

// tell posts an event to a pod's owner, if it has one.
func (a *Agent) tell(uid types.UID, ev any) {
	a.mu.Lock()
	w := a.pods[uid]
	a.mu.Unlock()
	if w != nil {
		w.post(ev)
	}
}

// guardedNow notes what the executor does with the pod.
func (w *worker) guardedNow(ev evGuarded) {
	l := w.life
	l.guarded = true
	if !ev.stopped || l.fenced != "" || l.ending() {
		return
	}
	l.fenced = "Stopped: this node has heard of no leader, and the pod must not run on two nodes"
	if ev.after > 0 {
		l.fenced = fmt.Sprintf("Stopped: this node has heard of no leader for %v, and the pod must not run on two nodes", ev.after)
	}
	w.event(corev1.EventTypeWarning, "Fenced", l.fenced, nil)
	w.a.events.ofNode(corev1.EventTypeWarning, "Fenced", "Pod "+w.life.pod.Namespace+"/"+w.life.pod.Name+": "+l.fenced)
}

// endUnguarded kills what nobody guards.
func (w *worker) endUnguarded(ctx context.Context, now time.Time) {
	for _, c := range w.life.conts {
		if c.state == cRunning {
			c.killed = now
			w.kill(ctx, c)
		}
	}
}

// fencedCondition shows that the pod is guarded, which the leader relies on, and whether it is stopped.
func (l *life) fencedCondition() []corev1.PodCondition {
	switch {
	case !l.guarded:
		return nil
	case l.fenced != "":
		return []corev1.PodCondition{truth(api.FencedCondition, true, "NoLeader", l.fenced)}
	}
	return []corev1.PodCondition{truth(api.FencedCondition, false, "Guarded", "")}
}
