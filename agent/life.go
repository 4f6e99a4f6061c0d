package agent

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

type sandboxState uint8

const (
	sandboxNone sandboxState = iota
	sandboxHalf              // something of it may be there: it is to be made whole before it is used, and removed if the pod ends
	sandboxStarting
	sandboxReady
	sandboxRemoving
	sandboxRemoved // for good: the pod has ended
)

// life is a pod's state machine: events change it, next says what to do. It reads no clock and does no I/O.
type life struct {
	pod   *corev1.Pod
	conts []*container // init containers in their order, then the others, then the ephemeral ones

	synced       bool // containers may be started
	sandbox      sandboxState
	framed       bool // the sandbox was made whole once: what an earlier agent left of it may be used if it lives
	deadFrame    bool // an earlier boot's sandbox is to be removed before a new one is made
	sandboxRetry backoff
	notBefore    time.Time // of the sandbox
	starting     *container
	cancelled    bool // the job in flight was told to stop

	startTime time.Time
	ips       []string // its own, the primary one first

	allocated, applied corev1.ResourceRequirements // of the pod as a whole
	resize             resizing

	guarded bool   // it runs only while this node has a lease
	fenced  string // why it was stopped for want of one; "" while it was not

	restartAll bool // all containers are ended and then started from the first on (KEP-5532)

	removed bool // the cluster has forgotten the pod
	// doom is why the agent itself ends the pod (activeDeadlineSeconds); phase is set once it has ended.
	doomReason, doomMessage string
	// decreed is the terminal phase that somebody else wrote while the pod ran: it is final, so the pod is ended and keeps it.
	decreed corev1.PodPhase
	phase   corev1.PodPhase
	// frozen keeps the status of a pod that had ended before this agent knew it.
	frozen bool

	shown     corev1.PodStatus // the status computed last: transition times go on from it
	deadline  time.Time        // when what still runs is killed; zero until the pod ends
	finalSent bool             // the final deletion is with the writer, or written
	backedOff []*container     // whose wait after a failed pull has begun to show; taken by the worker
}

func newLife(pod *corev1.Pod) *life {
	l := &life{pod: pod, shown: pod.Status}
	for i := range pod.Spec.InitContainers {
		c := &container{spec: &pod.Spec.InitContainers[i], role: roleInit}
		if p := c.spec.RestartPolicy; p != nil && *p == corev1.ContainerRestartPolicyAlways {
			c.role = roleSidecar
		}
		l.conts = append(l.conts, c)
	}
	for i := range pod.Spec.Containers {
		l.conts = append(l.conts, &container{spec: &pod.Spec.Containers[i], role: roleMain})
	}
	l.addEphemeral()
	l.allocate()
	l.applied = l.allocated
	return l
}

// addEphemeral takes up the ephemeral containers that are not known yet.
func (l *life) addEphemeral() {
	for i := range l.pod.Spec.EphemeralContainers {
		if spec := ephemeralSpec(l.pod, i); l.find(spec.Name) == nil {
			l.conts = append(l.conts, &container{spec: spec, role: roleEphemeral, allocated: spec.Resources})
		}
	}
}

// ephemeralSpec is the i-th ephemeral container as if it were an ordinary one: its fields are the same.
func ephemeralSpec(pod *corev1.Pod, i int) *corev1.Container {
	return (*corev1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
}

// targetOf is the ID of the container whose processes an ephemeral one is to see; "" if it names none.
func (l *life) targetOf(c *container) string {
	if c.role != roleEphemeral {
		return ""
	}
	for i := range l.pod.Spec.EphemeralContainers {
		if e := &l.pod.Spec.EphemeralContainers[i]; e.Name == c.spec.Name && e.TargetContainerName != "" {
			if t := l.find(e.TargetContainerName); t != nil {
				return t.id
			}
		}
	}
	return ""
}

// desire takes over a newer version of the pod.
func (l *life) desire(pod *corev1.Pod, now time.Time) {
	l.pod = pod
	for _, c := range l.conts {
		if s := findSpec(pod, c.spec.Name); s != nil {
			c.spec = s
		}
	}
	l.addEphemeral()
	l.resize.asked = time.Time{}
	if !l.wantsResize() {
		l.resize.pending = ""
	}
	l.heed()
	if pod.DeletionTimestamp != nil && !l.deadline.IsZero() {
		l.shorten(now.Add(l.grace()))
	}
}

// heed takes over the end that somebody else has written.
func (l *life) heed() {
	if st := &l.pod.Status; terminal(st.Phase) && !l.terminal() && l.decreed == "" {
		l.decreed, l.doomReason, l.doomMessage = st.Phase, st.Reason, st.Message
	}
}

func findSpec(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		if i := slices.IndexFunc(list, func(c corev1.Container) bool { return c.Name == name }); i >= 0 {
			return &list[i]
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return ephemeralSpec(pod, i)
		}
	}
	return nil
}

// forget notes that the cluster no longer knows the pod.
func (l *life) forget(now time.Time) {
	l.removed = true
	if !l.deadline.IsZero() {
		l.shorten(now.Add(forcedGrace))
	}
}

func (l *life) shorten(t time.Time) {
	if t.Before(l.deadline) {
		l.deadline = t
	}
	for _, c := range l.conts {
		if c.stop != stopNone && t.Before(c.deadline) {
			c.deadline = t
		}
	}
}

func (l *life) policy() corev1.RestartPolicy {
	if l.pod.Spec.RestartPolicy == "" {
		return corev1.RestartPolicyAlways
	}
	return l.pod.Spec.RestartPolicy
}

func (l *life) terminal() bool { return terminal(l.phase) }

// terminal says whether a phase is a pod's last.
func terminal(phase corev1.PodPhase) bool {
	return phase == corev1.PodSucceeded || phase == corev1.PodFailed
}

// ending says whether nothing is to be started any more.
func (l *life) ending() bool {
	return l.removed || l.pod.DeletionTimestamp != nil || l.doomReason != "" || l.decreed != "" || l.terminal()
}

// gone says whether nothing of the pod is left on the node and the cluster does not ask for it.
func (l *life) gone() bool { return l.removed && l.quiet() }

// quiet says whether nothing of the pod is left on the node.
func (l *life) quiet() bool {
	return l.ending() && l.starting == nil && (l.sandbox == sandboxNone || l.sandbox == sandboxRemoved)
}

func (l *life) grace() time.Duration {
	switch p := l.pod; {
	case l.removed:
		return forcedGrace
	case p.DeletionTimestamp != nil && p.DeletionGracePeriodSeconds != nil:
		return time.Duration(*p.DeletionGracePeriodSeconds) * time.Second
	case p.Spec.TerminationGracePeriodSeconds != nil:
		return time.Duration(*p.Spec.TerminationGracePeriodSeconds) * time.Second
	}
	return defaultGrace
}

// initialized says whether all init containers have done their part.
func (l *life) initialized() bool {
	for _, c := range l.conts {
		switch {
		case c.role == roleMain:
			if c.begun() {
				return true // so they had when it was started
			}
		case c.role == roleSidecar && !(c.state == cRunning && c.started):
			return l.anyMainStarted()
		case c.role == roleInit && !c.succeeded():
			return false
		}
	}
	return true
}

func (l *life) anyMainStarted() bool {
	return slices.ContainsFunc(l.conts, func(c *container) bool { return c.role == roleMain && c.begun() })
}

func (c *container) succeeded() bool {
	return c.state == cExited && c.end != nil && c.end.ExitCode == 0
}

// settle draws the conclusions of what has happened: has the pod ended, or must it end?
func (l *life) settle(now time.Time) {
	if !l.ending() {
		l.checkEnd()
		l.checkActiveDeadline(now)
	}
	if !l.ending() {
		return
	}
	if l.deadline.IsZero() {
		l.deadline = now.Add(l.grace())
	}
	if l.phase == "" && l.starting == nil && l.running() == 0 && !l.frozen {
		l.phase = l.endPhase()
	}
}

// checkEnd finds the pod's own end: a failed init container, or no container left to run.
func (l *life) checkEnd() {
	failed, all := false, true
	for _, c := range l.conts {
		over := c.state == cExited && !c.restartable(l.policy())
		switch c.role {
		case roleInit:
			if over && !c.succeeded() {
				l.phase = corev1.PodFailed
				return
			}
		case roleMain:
			all = all && over
			failed = failed || over && !c.succeeded()
		}
	}
	switch {
	case !all:
	case failed:
		l.phase = corev1.PodFailed
	default:
		l.phase = corev1.PodSucceeded
	}
}

func (l *life) checkActiveDeadline(now time.Time) {
	s := l.pod.Spec.ActiveDeadlineSeconds
	if s == nil || l.startTime.IsZero() || now.Before(l.startTime.Add(time.Duration(*s)*time.Second)) {
		return
	}
	l.doomReason = "DeadlineExceeded"
	l.doomMessage = "Pod was active on the node longer than the specified deadline"
}

// endPhase is the phase of a pod that was ended by somebody.
func (l *life) endPhase() corev1.PodPhase {
	if l.decreed != "" {
		return l.decreed
	}
	if l.doomReason != "" {
		return corev1.PodFailed
	}
	for _, c := range l.conts {
		if c.role != roleSidecar && c.role != roleEphemeral && !c.succeeded() {
			return corev1.PodFailed
		}
	}
	return corev1.PodSucceeded
}

func (l *life) running() int {
	n := 0
	for _, c := range l.conts {
		if c.state == cRunning {
			n++
		}
	}
	return n
}

type actionKind uint8

const (
	actNone      actionKind = iota
	actSandbox              // make the sandbox, its address and its volumes
	actStart                // start a container
	actCancel               // stop the job in flight
	actStop                 // run the preStop hook, then send TERM
	actKill                 // send KILL
	actTeardown             // remove the sandbox and its address
	actFinal                // remove the pod object
	actAskResize            // ask the node for the resources that the spec wants now
	actResize               // change limits and weights in place
	actRestart              // stop a container that is to be started anew
	actSave                 // nothing but to look again
)

// action is one thing to do. Whoever takes it from next must do it: next has noted it as begun.
type action struct {
	kind actionKind
	c    *container
}

// next says what is to be done now; call it until it says actNone. When it does, wake is the time at
// which there may be more to do without any further event; zero is never.
func (l *life) next(now time.Time) (a action, wake time.Time) {
	l.settle(now)
	if l.ending() {
		return l.nextStop(now)
	}
	var alarm alarm
	if a := l.nextKill(now, &alarm); a.kind != actNone {
		return a, time.Time{}
	}
	if l.restartAll {
		return l.nextRestart(now), alarm.Time
	}
	if a := l.nextResize(now, &alarm); a.kind != actNone {
		return a, time.Time{}
	}
	l.showPullBackOff(now, &alarm)
	if s := l.pod.Spec.ActiveDeadlineSeconds; s != nil && !l.startTime.IsZero() {
		alarm.at(l.startTime.Add(time.Duration(*s) * time.Second))
	}
	if !l.synced || l.starting != nil || l.sandbox == sandboxStarting || l.resize.running {
		return action{}, alarm.Time
	}
	if l.sandbox == sandboxNone || l.sandbox == sandboxHalf {
		if alarm.due(l.notBefore, now) {
			l.sandbox, l.cancelled, l.applied = sandboxStarting, false, l.allocated
			return action{kind: actSandbox}, time.Time{}
		}
		return action{}, alarm.Time
	}
	if c := l.nextContainer(now, &alarm); c != nil {
		c.begin(l.pod.UID)
		l.starting, l.cancelled = c, false
		return action{kind: actStart, c: c}, time.Time{}
	}
	return action{}, alarm.Time
}

// nextRestart ends what runs and then rewinds the pod to before its first init container.
func (l *life) nextRestart(now time.Time) action {
	if l.starting != nil || l.resize.running {
		return action{}
	}
	for _, c := range l.conts {
		if c.role != roleEphemeral && c.state == cRunning && c.stop == stopNone {
			c.stop, c.deadline = stopAsked, now.Add(l.grace())
			return action{kind: actRestart, c: c}
		}
	}
	var due time.Time
	for _, c := range l.conts {
		if c.role == roleEphemeral {
			continue
		}
		if c.state == cRunning {
			return action{}
		}
		if c.rule() == corev1.ContainerRestartRuleActionRestartAllContainers {
			due = c.notBefore
		}
	}
	for _, c := range l.conts {
		if c.role != roleEphemeral {
			c.rewind()
			c.notBefore = due
		}
	}
	l.restartAll = false
	return action{kind: actSave}
}

// nextContainer is the container to be started now: an ephemeral one, which waits for nobody, else the first
// init container that is not done, else any other one that is due.
func (l *life) nextContainer(now time.Time, alarm *alarm) *container {
	for _, c := range l.conts {
		if c.role == roleEphemeral && c.wantsStart(l.policy()) && alarm.due(c.notBefore, now) {
			return c
		}
	}
	open := l.anyMainStarted() // init containers have their turn only once
	for _, c := range l.conts {
		if c.role == roleInit && open {
			continue
		}
		if c.wantsStart(l.policy()) && alarm.due(c.notBefore, now) {
			return c
		}
		if c.role == roleInit && !c.succeeded() || c.role == roleSidecar && !open && !c.started {
			return nil
		}
	}
	return nil
}

// showPullBackOff lets a failed pull be seen for a moment before its wait is.
func (l *life) showPullBackOff(now time.Time, alarm *alarm) {
	for _, c := range l.conts {
		if c.pullFailed.IsZero() || !alarm.due(c.pullFailed.Add(pullErrorShown), now) {
			continue
		}
		c.pullFailed = time.Time{}
		l.backedOff = append(l.backedOff, c)
		c.waitMessage = fmt.Sprintf("Back-off pulling image %q: %s: %s", c.lacks, c.waitReason, c.waitMessage)
		c.waitReason = ReasonImagePullBackOff
	}
}

// nextKill finds a container whose own grace period (after a failed liveness probe) is over.
func (l *life) nextKill(now time.Time, alarm *alarm) action {
	for _, c := range l.conts {
		if c.state == cRunning && (c.stop == stopAsked || c.stop == stopSent) && alarm.due(c.killAt(l.removed), now) {
			c.stop, c.killed = stopKilled, now
			return action{kind: actKill, c: c}
		}
	}
	return action{}
}

// killAt is when KILL is due: a preStop hook that is still running at the deadline gets a little more.
func (c *container) killAt(forced bool) time.Time {
	if c.stop == stopAsked && c.hooked && !forced {
		return c.deadline.Add(hookExtra)
	}
	return c.deadline
}

// alarm keeps the earliest of several times.
type alarm struct{ time.Time }

func (a *alarm) at(t time.Time) {
	if a.IsZero() || t.Before(a.Time) {
		a.Time = t
	}
}

// due says whether t has come, and sets the alarm if it has not.
func (a *alarm) due(t, now time.Time) bool {
	if !t.After(now) {
		return true
	}
	a.at(t)
	return false
}

func metaTime(t time.Time) metav1.Time { return metav1.NewTime(t.Truncate(time.Second)) }
