package agent

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/agent/probe"
	"github.com/peapod-sh/peapod/agent/runtime"
)

// Events that a worker hears.
type (
	evWake    struct{}
	evDesired struct{ pod *corev1.Pod }
	evRemoved struct{}
	evExit    struct{ c runtime.Container }
	evProbe   struct{ r probe.Report }

	evSandbox struct { // the result of actSandbox
		ips []netip.Addr
		err error
	}
	evStarted struct { // the result of actStart
		c      *container
		image  *Image
		made   runtime.Container
		user   *corev1.ContainerUser
		mounts []corev1.VolumeMountStatus
		hook   error // of postStart; the container runs
		guard  bool  // the pod is guarded
		err    error
	}
	evStopSent struct{ c *container } // the preStop hook is over and TERM was sent
	evTornDown struct{ err error }
)

// worker owns one pod. Only its goroutine (run) touches life; mu guards what is beneath it.
type worker struct {
	a     *Agent
	uid   types.UID
	life  *life
	found *runtime.Sandbox // what an earlier agent left, until restored

	cancel  context.CancelFunc // of the start job in flight; nil if there is none
	refresh time.Time          // when volumes are next read again; zero if there is nothing to read
	saved   []byte             // the state file's content
	written []byte             // the status last handed to the writer
	jobs    sync.WaitGroup
	share   share                             // what the pod has of the node's room
	hooks   map[*container]context.CancelFunc // of the preStop hooks in flight

	mu     sync.Mutex
	inbox  []any
	signal chan struct{} // capacity 1: there is something in the inbox
	view   podView       // for lookups from other goroutines
}

func newWorker(a *Agent, pod *corev1.Pod) *worker {
	return &worker{
		a: a, uid: pod.UID, life: newLife(pod), signal: make(chan struct{}, 1),
		hooks: map[*container]context.CancelFunc{}, view: podView{pod: pod},
	}
}

// post hands an event to the worker; it never blocks. The inbox is bounded by what can happen to a pod:
// desired pods replace one another.
func (w *worker) post(ev any) {
	w.mu.Lock()
	if _, ok := ev.(evDesired); ok && len(w.inbox) > 0 {
		if _, same := w.inbox[len(w.inbox)-1].(evDesired); same {
			w.inbox = w.inbox[:len(w.inbox)-1]
		}
	}
	w.inbox = append(w.inbox, ev)
	w.mu.Unlock()
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

func (w *worker) take() []any {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.inbox
	w.inbox = nil
	return list
}

// run is the owner goroutine: it ends when the pod is gone or the agent's Run ends.
func (w *worker) run() {
	ctx, stop := context.WithCancel(w.a.ctx)
	defer w.jobs.Wait()
	defer stop()
	w.restore(time.Now())
	w.a.restoring.Add(-1)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.signal:
		case <-timer.C:
		}
		for _, ev := range w.take() {
			w.handle(ctx, ev, time.Now())
		}
		wake := w.act(ctx, time.Now())
		w.leaveRoom()
		w.publish()
		if w.life.gone() {
			w.bury()
			return
		}
		if wake.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(wake))
		}
	}
}

// act begins everything that is to be done now and tells when to look again.
func (w *worker) act(ctx context.Context, now time.Time) time.Time {
	w.life.synced = w.life.synced || isClosed(w.a.synced)
	for {
		a, wake := w.life.next(now)
		w.pullBackOffEvents()
		if a.kind == actNone {
			return w.refreshVolumes(ctx, now, wake)
		}
		w.save()
		w.begin(ctx, a)
	}
}

// pullBackOffEvents says that images will not be pulled again at once.
func (w *worker) pullBackOffEvents() {
	for _, c := range w.life.backedOff {
		w.event(corev1.EventTypeNormal, "BackOff", fmt.Sprintf("Back-off pulling image %q", c.lacks), c.whoLacks())
		w.event(corev1.EventTypeWarning, "Failed", "Error: "+ReasonImagePullBackOff, c.whoLacks())
	}
	w.life.backedOff = nil
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// begin starts an action's job.
func (w *worker) begin(ctx context.Context, a action) {
	switch a.kind {
	case actSandbox:
		w.spawnStart(ctx, w.jobSandbox())
	case actStart:
		w.spawnStart(ctx, w.jobStart(a.c))
	case actCancel:
		if w.cancel != nil {
			w.cancel()
		}
	case actStop:
		w.stop(ctx, a.c, "Stopping container "+a.c.spec.Name)
	case actKill:
		w.kill(ctx, a.c)
	case actTeardown:
		w.a.prober.RemovePod(string(w.uid))
		w.spawn(ctx, w.jobTeardown())
	case actAskResize:
		w.askResize(time.Now())
	case actResize:
		w.spawn(ctx, w.jobResize())
	case actRestart:
		w.stop(ctx, a.c, w.life.restartReason(a.c))
	case actFinal:
		w.publish()
		w.a.writer.remove(w.life.pod)
	}
}

// spawn runs a job and posts its result. Jobs see nothing of the worker but what they were given.
func (w *worker) spawn(ctx context.Context, job func(context.Context) any) {
	w.jobs.Go(func() { w.post(job(ctx)) })
}

func (w *worker) spawnStart(ctx context.Context, job func(context.Context) any) {
	ctx, w.cancel = context.WithCancel(ctx)
	w.spawn(ctx, job)
}

// stop asks a container to end: its preStop hook first, then TERM (or the image's signal).
func (w *worker) stop(ctx context.Context, c *container, why string) {
	w.a.prober.Remove(string(w.uid), c.spec.Name, probe.Liveness)
	w.a.prober.Remove(string(w.uid), c.spec.Name, probe.Startup)
	w.event(corev1.EventTypeNormal, "Killing", why, c)
	hookCtx, cancel := context.WithDeadline(ctx, c.deadline)
	w.hooks[c] = cancel
	job := w.jobStop(c)
	w.spawn(ctx, func(ctx context.Context) any { defer cancel(); return job(ctx, hookCtx) })
}

func (w *worker) kill(ctx context.Context, c *container) {
	if cancel := w.hooks[c]; cancel != nil {
		cancel()
	}
	id := c.id
	w.spawn(ctx, func(ctx context.Context) any {
		if err := w.a.cfg.Executor.Signal(ctx, id, syscall.SIGKILL); err != nil && ctx.Err() == nil {
			w.a.log.Warn("killing a container", "pod", w.uid, "error", err)
		}
		return evWake{}
	})
}

// handle changes the life by one event.
func (w *worker) handle(ctx context.Context, ev any, now time.Time) {
	switch ev := ev.(type) {
	case evDesired:
		w.desired(ctx, ev.pod, now)
	case evRemoved:
		w.life.forget(now)
	case evExit:
		w.exited(ev.c)
	case evProbe:
		w.probed(ctx, ev.r, now)
	case evSandbox:
		w.sandboxMade(ev, now)
	case evStarted:
		w.started(ctx, ev, now)
	case evStopSent:
		w.stopSent(ev.c, now)
	case evTornDown:
		w.tornDown(ev.err, now)
	case evEvict:
		w.evict(ev.message, now)
	case evResized:
		w.resized(ev, now)
	case evRoom:
		w.roomFound(ev.share)
	case evGuarded:
		w.guardedNow(ev)
	case evUnguarded:
		w.endUnguarded(ctx, now)
	}
}

func (w *worker) desired(ctx context.Context, pod *corev1.Pod, now time.Time) {
	if contradicts(&pod.Status, &w.life.shown) {
		w.written = nil // the servers gave the pod up while the node was away: tell them again
	}
	if !w.refresh.IsZero() && showsItself(w.life.pod, pod) {
		w.refresh = now
	}
	w.life.desire(pod, now)
	if !w.life.wantsResize() {
		w.a.room.withdraw(&w.share)
	}
	w.setViewPod(pod)
	for _, c := range w.life.conts {
		if c.state == cRunning && c.stop == stopNone && c.spec.Image != c.image && c.image != "" && !w.life.ending() {
			c.crash, c.stop, c.deadline = backoff{}, stopAsked, now.Add(w.life.grace())
			w.stop(ctx, c, fmt.Sprintf("Container %s definition changed, will be restarted", c.spec.Name))
		}
	}
}

// contradicts says whether the cluster believes something else of the pod than this node does.
func contradicts(theirs, ours *corev1.PodStatus) bool {
	if theirs.Phase != ours.Phase {
		return true
	}
	a, b := findCondition(theirs.Conditions, corev1.PodReady), findCondition(ours.Conditions, corev1.PodReady)
	return (a == nil) != (b == nil) || a != nil && a.Status != b.Status
}

func (w *worker) sandboxMade(ev evSandbox, now time.Time) {
	w.cancel = nil
	l := w.life
	if ev.err == nil {
		l.sandbox, l.framed, l.sandboxRetry, l.deadFrame = sandboxReady, true, backoff{}, false
		l.ips = addrStrings(ev.ips)
		w.refresh = now.Add(volumeRefresh)
		w.save()
		return
	}
	l.sandbox = sandboxHalf
	if l.ending() {
		return
	}
	l.sandboxRetry.next(configRetryFirst, configRetryMax)
	l.notBefore = now.Add(l.sandboxRetry.Delay)
	w.event(corev1.EventTypeWarning, sandboxReason(ev.err), ev.err.Error(), nil)
}

func addrStrings(list []netip.Addr) (out []string) {
	for _, a := range list {
		out = append(out, a.String())
	}
	return out
}

func (w *worker) started(ctx context.Context, ev evStarted, now time.Time) {
	w.cancel = nil
	l, c := w.life, ev.c
	l.starting = nil
	if ev.image != nil {
		c.image, c.imageID = c.spec.Image, ev.image.ID
	}
	if ev.err != nil {
		w.notStarted(c, ev.err, now)
		w.save()
		return
	}
	if ev.guard {
		l.guarded, l.fenced = true, ""
	}
	c.user, c.mounts = ev.user, ev.mounts
	c.runs(ev.made.Started)
	w.event(corev1.EventTypeNormal, "Started", "Container started", c)
	if c.early != nil {
		w.ended(c, *c.early)
		return
	}
	if ev.hook != nil && !l.ending() {
		w.event(corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed", c)
		c.stop, c.deadline = stopAsked, now.Add(l.grace())
		w.stop(ctx, c, "FailedPostStartHook")
	}
	w.addProbes(c)
	w.save()
}

func (l *life) find(name string) *container {
	for _, c := range l.conts {
		if c.spec.Name == name {
			return c
		}
	}
	return nil
}

func (w *worker) stopSent(c *container, now time.Time) {
	delete(w.hooks, c)
	if c.stop == stopAsked {
		c.stop = stopSent
		if c.hooked && c.deadline.Before(now.Add(hookExtra)) && !w.life.removed {
			c.deadline = now.Add(hookExtra)
		}
	}
	w.save()
}

func (w *worker) tornDown(err error, now time.Time) {
	l := w.life
	if err != nil {
		w.a.log.Warn("removing a pod's sandbox; trying again", "pod", w.podTag(), "error", err)
		l.sandbox = sandboxReady
		l.sandboxRetry.next(configRetryFirst, configRetryMax)
		l.notBefore = now.Add(l.sandboxRetry.Delay)
		return
	}
	l.sandbox = sandboxRemoved
	for _, c := range l.conts {
		if c.state == cRunning {
			c.lost(now)
		}
	}
	w.save()
}

func (w *worker) podTag() string {
	p := w.life.pod
	return fmt.Sprintf("%s_%s(%s)", p.Name, p.Namespace, p.UID)
}

func (w *worker) event(kind, reason, message string, c *container) {
	path := ""
	if c != nil {
		path = c.path()
	}
	w.a.events.record(w.life.pod, path, kind, reason, message)
}

// publish hands the pod's status to the writer if it is another one than before.
func (w *worker) publish() {
	if w.life.removed || w.life.frozen {
		return
	}
	st := w.life.status(w.a.cfg.NodeIPs, time.Now())
	w.life.shown = st
	b, err := st.Marshal()
	if err != nil {
		w.a.log.Error("encoding a pod's status", "pod", w.podTag(), "error", err)
		return
	}
	w.setView(&st)
	if string(b) == string(w.written) {
		return
	}
	w.written = b
	w.tellChanged()
	held := st.Phase == corev1.PodPending && w.life.pod.DeletionTimestamp == nil && !w.life.faulty()
	w.a.writer.put(w.life.pod, b, held)
}

// bury removes what the pod left on disk.
func (w *worker) bury() {
	w.tellChanged()
	w.a.prober.RemovePod(string(w.uid))
	w.removeFiles()
	w.a.forget(w)
}
