package agent

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// A pod's resources can be changed while it runs (KEP-1287). What its spec asks for is desired, what the node has
// agreed to is allocated, and what a container runs with is applied; each follows the one before.

// resizing is how far a change has come.
type resizing struct {
	// pending is why the node has not agreed: Deferred (not now) or Infeasible (never); message says it in words.
	pending, pendingMessage string
	asked                   time.Time // when the node is asked again
	running                 bool      // a job is at work on it
	fault                   string    // what the last job could not do
	retry                   backoff
	notBefore               time.Time // of the next job
}

func sameResources(a, b *corev1.ResourceRequirements) bool {
	return sameAmounts(a.Requests, b.Requests) && sameAmounts(a.Limits, b.Limits)
}

// sameAmounts compares without reflection: every step of a pod's life asks for it several times.
func sameAmounts(a, b corev1.ResourceList) bool {
	if len(a) != len(b) {
		return false
	}
	for name, q := range a {
		other, named := b[name]
		if !named || q.Cmp(other) != 0 {
			return false
		}
	}
	return true
}

// podLevel are the resources that a pod's spec gives to all of its containers together.
func podLevel(pod *corev1.Pod) corev1.ResourceRequirements {
	if pod.Spec.Resources == nil {
		return corev1.ResourceRequirements{}
	}
	return *pod.Spec.Resources
}

// wantsResize says whether the spec asks for other resources than the node has agreed to.
func (l *life) wantsResize() bool {
	level := podLevel(l.pod)
	if !sameResources(&level, &l.allocated) {
		return true
	}
	for _, c := range l.conts {
		if !sameResources(&c.spec.Resources, &c.allocated) {
			return true
		}
	}
	return false
}

// unapplied says whether something runs with other resources than the node has agreed to.
func (l *life) unapplied() bool {
	if !sameResources(&l.allocated, &l.applied) {
		return true
	}
	for _, c := range l.conts {
		if c.state == cRunning && !sameResources(&c.allocated, &c.applied) {
			return true
		}
	}
	return false
}

// allocate agrees to what the spec asks for.
func (l *life) allocate() {
	l.allocated = podLevel(l.pod)
	for _, c := range l.conts {
		c.allocated = c.spec.Resources
	}
	l.resize = resizing{}
}

// allocatedPod is the pod as the node has agreed to run it.
func (l *life) allocatedPod() *corev1.Pod {
	if !l.wantsResize() {
		return l.pod
	}
	return l.withResources(l.allocated, func(c *container) corev1.ResourceRequirements { return c.allocated })
}

// appliedPod is the pod as its cgroups have it.
func (l *life) appliedPod() *corev1.Pod {
	return l.withResources(l.applied, func(c *container) corev1.ResourceRequirements { return c.applied })
}

func (l *life) withResources(level corev1.ResourceRequirements, of func(*container) corev1.ResourceRequirements) *corev1.Pod {
	p := l.pod.DeepCopy()
	if p.Spec.Resources != nil {
		*p.Spec.Resources = level
	}
	for _, c := range l.conts {
		if s := findSpec(p, c.spec.Name); s != nil {
			s.Resources = of(c)
		}
	}
	return p
}

// nextResize asks the node, has a container restarted that wants to be for this, or has the rest changed in place.
func (l *life) nextResize(now time.Time, alarm *alarm) action {
	if l.sandbox != sandboxReady || l.starting != nil || l.resize.running {
		return action{}
	}
	if l.wantsResize() && alarm.due(l.resize.asked, now) {
		return action{kind: actAskResize}
	}
	if !l.unapplied() || !alarm.due(l.resize.notBefore, now) {
		return action{}
	}
	for _, c := range l.conts {
		if c.state != cRunning || !c.restartsFor() {
			continue
		}
		if c.stop == stopNone {
			c.crash, c.stop, c.deadline = backoff{}, stopAsked, now.Add(l.grace())
			return action{kind: actRestart, c: c}
		}
		return action{} // its end is on its way
	}
	l.resize.running = true
	return action{kind: actResize}
}

// restartsFor says whether the change that is under way is one for which the container wants to be started anew.
func (c *container) restartsFor() bool {
	for _, p := range c.spec.ResizePolicy {
		if p.RestartPolicy == corev1.RestartContainer && !sameQuantity(&c.allocated, &c.applied, p.ResourceName) {
			return true
		}
	}
	return false
}

func sameQuantity(a, b *corev1.ResourceRequirements, name corev1.ResourceName) bool {
	same := func(x, y corev1.ResourceList) bool {
		p, hasP := x[name]
		q, hasQ := y[name]
		return hasP == hasQ && p.Cmp(q) == 0
	}
	return same(a.Requests, b.Requests) && same(a.Limits, b.Limits)
}

// askResize has the node decide whether the pod gets what its spec asks for.
func (w *worker) askResize(now time.Time) {
	l := w.life
	if w.a.restoring.Load() > 0 { // what others have is not all known
		l.resize.asked = now.Add(resizeAskSoon)
		return
	}
	want := shareOf(l.pod)
	missing := w.a.room.ask(waiter{held: &w.share, want: want, granted: func() { w.post(evRoom{want}) },
		turn: turn{priority: priorityOf(l.pod), class: podQOS(l.pod), since: l.deferredSince(now), uid: w.uid}})
	if missing == nil {
		w.startResize()
		return
	}
	reason := corev1.PodReasonDeferred
	if missing.moreThanTheNodeHasAll {
		reason = corev1.PodReasonInfeasible
	}
	if reason != l.resize.pending {
		w.event(corev1.EventTypeWarning, "Resize"+reason, "Pod resize "+reason+": "+missing.String(), nil)
	}
	l.resize.pending, l.resize.pendingMessage, l.resize.asked = reason, missing.String(), now.Add(resizeAskAgain)
}

func (w *worker) startResize() {
	w.life.allocate()
	w.event(corev1.EventTypeNormal, "ResizeStarted", "Pod resize started", nil)
	w.save()
}

// evRoom says that the pod's turn has come and that it has the room which it asked for.
type evRoom struct{ share share }

// roomFound begins the resize that waited. If the pod wants something else by now, it gives back what it has too much, and asks anew.
func (w *worker) roomFound(granted share) {
	l := w.life
	switch {
	case l.ending():
	case l.wantsResize() && shareOf(l.pod) == granted:
		w.startResize()
	default:
		w.a.room.give(&w.share, shareOf(l.allocatedPod()))
		l.resize.asked = time.Time{}
	}
}

// deferredSince is when the node first had to say that the resize must wait; now if it has not.
func (l *life) deferredSince(now time.Time) time.Time {
	for _, st := range []*corev1.PodStatus{&l.shown, &l.pod.Status} {
		if c := findCondition(st.Conditions, corev1.PodResizePending); c != nil && c.Reason == corev1.PodReasonDeferred {
			return c.LastTransitionTime.Time
		}
	}
	return now
}

// evResized is the result of actResize.
type evResized struct {
	level corev1.ResourceRequirements
	done  map[*container]corev1.ResourceRequirements
	err   error
}

// jobResize changes the cgroups. The pod's own is widened first and narrowed last, so that at no moment a container may
// have more than its pod.
func (w *worker) jobResize() func(context.Context) any {
	l := w.life
	before, after := podResources(l.appliedPod()), podResources(l.allocatedPod())
	type change struct {
		c  *container
		id string
		to corev1.ResourceRequirements
		r  runtime.Resources
	}
	var list []change
	pod := l.allocatedPod()
	for _, c := range l.conts {
		if c.state == cRunning && !sameResources(&c.allocated, &c.applied) {
			list = append(list, change{c, c.id, c.allocated, containerResources(pod, findSpec(pod, c.spec.Name), w.a.node.memory)})
		}
	}
	level, uid, exec := l.allocated, string(w.uid), w.a.cfg.Executor
	return func(ctx context.Context) any {
		ev := evResized{done: map[*container]corev1.ResourceRequirements{}}
		if ev.err = exec.Resize(ctx, uid, "", widest(before, after)); ev.err != nil {
			return ev
		}
		for _, x := range list {
			if err := exec.Resize(ctx, uid, x.id, x.r); err != nil {
				ev.err = err
				return ev
			}
			ev.done[x.c] = x.to
		}
		if ev.err = exec.Resize(ctx, uid, "", after); ev.err == nil {
			ev.level = level
		}
		return ev
	}
}

// widest allows what either of two allows; zero is no limit.
func widest(a, b runtime.Resources) runtime.Resources {
	w := b
	w.CPUShares = max(a.CPUShares, b.CPUShares)
	if w.CPUQuota = max(a.CPUQuota, b.CPUQuota); a.CPUQuota == 0 || b.CPUQuota == 0 {
		w.CPUQuota, w.CPUPeriod = 0, 0
	}
	if w.MemoryBytes = max(a.MemoryBytes, b.MemoryBytes); a.MemoryBytes == 0 || b.MemoryBytes == 0 {
		w.MemoryBytes = 0
	}
	return w
}

func (w *worker) resized(ev evResized, now time.Time) {
	l := w.life
	l.resize.running = false
	for c, r := range ev.done {
		if c.state == cRunning {
			c.applied = r
		}
	}
	if ev.err == nil {
		l.applied = ev.level
		l.resize.fault, l.resize.retry = "", backoff{}
		if !l.unapplied() {
			w.event(corev1.EventTypeNormal, "ResizeCompleted", "Pod resize completed", nil)
		}
		w.save()
		return
	}
	if l.ending() {
		return
	}
	if l.resize.fault != ev.err.Error() {
		w.event(corev1.EventTypeWarning, "ResizeError", "Pod resize error: "+ev.err.Error(), nil)
	}
	l.resize.fault = ev.err.Error()
	l.resize.retry.next(resizeRetryFirst, resizeRetryMax)
	l.resize.notBefore = now.Add(l.resize.retry.Delay)
	w.save()
}

// resizeConditions tell what is between what the spec asks for and what runs; none if nothing is.
func (l *life) resizeConditions() (out []corev1.PodCondition) {
	if l.ending() || l.sandbox != sandboxReady {
		return nil
	}
	if l.resize.pending != "" && l.wantsResize() {
		out = append(out, truth(corev1.PodResizePending, true, l.resize.pending, l.resize.pendingMessage))
	}
	if l.unapplied() {
		c := truth(corev1.PodResizeInProgress, true, "", l.resize.fault)
		if l.resize.fault != "" {
			c.Reason = corev1.PodReasonError
		}
		out = append(out, c)
	}
	return out
}

// showResources puts into a container's status what it was given and what it runs with.
func (c *container) showResources(cs *corev1.ContainerStatus) {
	if c.role == roleEphemeral {
		return
	}
	cs.AllocatedResources = c.allocated.Requests
	shown := c.allocated
	if c.state == cRunning {
		shown = c.applied
	}
	cs.Resources = &corev1.ResourceRequirements{Requests: shown.Requests, Limits: shown.Limits}
}

// showPodLevel tells what a pod was given and what it runs with in all, if its spec says something of all its containers together.
func (l *life) showPodLevel(st *corev1.PodStatus) {
	if l.pod.Spec.Resources == nil {
		return
	}
	of := resourcehelper.PodResourcesOptions{ExcludeOverhead: true}
	applied := l.appliedPod()
	st.AllocatedResources = resourcehelper.PodRequests(l.allocatedPod(), of)
	st.Resources = &corev1.ResourceRequirements{Requests: resourcehelper.PodRequests(applied, of), Limits: resourcehelper.PodLimits(applied, of)}
}
