package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/agent/runtime"
)

type role uint8

const (
	roleInit    role = iota // runs to its end before the next one starts
	roleSidecar             // an init container with restartPolicy Always
	roleMain
	roleEphemeral // added to a pod that runs, for a person to look into it; started once
)

type containerState uint8

const (
	cWaiting  containerState = iota // never started, or to be started again after the sandbox was lost
	cStarting                       // a job is at work on it
	cRunning
	cExited
)

// container is what a pod's owner knows about one of its containers.
// Invariant: starts counts the containers that were made (or at least tried), so RestartCount = max(0, starts-1).
type container struct {
	spec  *corev1.Container
	role  role
	state containerState

	starts  int
	base    int    // starts before the sandbox was made anew or all containers were restarted: from there init containers run again
	id      string // of the latest start
	image   string
	imageID string

	allocated, applied corev1.ResourceRequirements // what the node has agreed to, and what the latest start runs with
	began              time.Time                   // valid while running

	// end is the latest start's end while the state is cExited; last is the end before it.
	end, last *corev1.ContainerStateTerminated
	// early is an exit that overtook the result of the start job.
	early *runtime.Container

	// user and mounts are what the latest start was given.
	user   *corev1.ContainerUser
	mounts []corev1.VolumeMountStatus

	started, ready bool // verdicts of the startup and readiness probes; true where there is no probe

	waitReason, waitMessage string
	crash                   backoff // between starts
	retry                   backoff // of images and configuration
	notBefore               time.Time
	pullFailed              time.Time // when the last pull failed; zero if the last attempt did not
	lacks                   string    // the image that the last pull was of

	stop     stopStage
	hooked   bool // the preStop hook was begun (it is not run again by an agent that starts again)
	deadline time.Time
	killed   time.Time // when KILL was sent
}

type stopStage uint8

const (
	stopNone  stopStage = iota
	stopAsked           // the preStop hook runs, or TERM is on its way
	stopSent            // TERM was sent
	stopKilled
)

// backoff is a delay that doubles.
type backoff struct{ Delay time.Duration }

func (b *backoff) next(first, most time.Duration) time.Duration {
	d := b.Delay
	b.Delay = min(max(first, 2*d), most)
	return d
}

// containerID names a start for good, so that starting twice what an earlier agent started is seen.
func containerID(uid types.UID, name string, attempt int) string {
	sum := sha256.Sum256([]byte(string(uid) + "/" + name + "/" + strconv.Itoa(attempt)))
	return hex.EncodeToString(sum[:])
}

// begun says whether the container was started since the pod's beginning, or its latest one.
func (c *container) begun() bool { return c.starts > c.base }

// rewind makes a container that has ended one that was not started yet, but for its history.
func (c *container) rewind() {
	c.base = c.starts
	if c.end != nil {
		c.last, c.end = c.end, nil
	}
	c.state = cWaiting
}

// rule is the first of the container's rules for its exit code (KEP-5307), "" if none is.
func (c *container) rule() corev1.ContainerRestartRuleAction {
	if c.end == nil {
		return ""
	}
	for _, r := range c.spec.RestartPolicyRules {
		if x := r.ExitCodes; x != nil && slices.Contains(x.Values, c.end.ExitCode) == (x.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
			return r.Action
		}
	}
	return ""
}

// restartable says whether the container is to be started again after its end: by its rules, by its own policy, or by the
// pod's.
func (c *container) restartable(policy corev1.RestartPolicy) bool {
	failed := c.end == nil || c.end.ExitCode != 0
	if own := c.spec.RestartPolicy; own != nil && c.role != roleSidecar {
		policy = corev1.RestartPolicy(*own)
	}
	switch {
	case c.rule() != "":
		return true
	case c.role == roleSidecar:
		return true
	case c.role == roleEphemeral:
		return false
	case policy == corev1.RestartPolicyNever:
		return false
	case c.role == roleInit || policy == corev1.RestartPolicyOnFailure:
		return failed
	}
	return true
}

// wantsStart says whether the container should be started, now or after its back-off.
func (c *container) wantsStart(policy corev1.RestartPolicy) bool {
	return c.state == cWaiting || c.state == cExited && c.restartable(policy)
}

// path names the container in events, as Kubernetes does.
func (c *container) path() string {
	list := "containers"
	switch c.role {
	case roleInit, roleSidecar:
		list = "initContainers"
	case roleEphemeral:
		list = "ephemeralContainers"
	}
	return "spec." + list + "{" + c.spec.Name + "}"
}

// begin notes that a start is on its way.
func (c *container) begin(uid types.UID) {
	if c.end != nil {
		c.last, c.end = c.end, nil
	}
	c.id = containerID(uid, c.spec.Name, c.starts)
	c.starts++
	c.state = cStarting
	c.applied = c.allocated
	c.started, c.ready, c.early = false, false, nil
	c.stop, c.hooked, c.killed, c.deadline = stopNone, false, time.Time{}, time.Time{}
}

// unbegin takes a start back that made no container; the state before it returns.
func (c *container) unbegin() {
	c.starts--
	c.id = ""
	c.state = cWaiting
	if c.starts > 0 && c.last != nil {
		c.state, c.end, c.id = cExited, c.last, trimID(c.last.ContainerID)
	}
}

// runs notes that the container has started.
func (c *container) runs(began time.Time) {
	c.state, c.began = cRunning, began
	c.waitReason, c.waitMessage, c.retry, c.pullFailed = "", "", backoff{}, time.Time{}
	c.started = c.spec.StartupProbe == nil
	c.ready = c.started && c.spec.ReadinessProbe == nil
}

// ended notes the container's end and when it may be started again.
func (c *container) ended(x runtime.Container, message string) {
	if x.Started.IsZero() {
		x.Started = c.began
	}
	c.end = &corev1.ContainerStateTerminated{
		ExitCode: int32(x.ExitCode), Signal: 0, Reason: endReason(x), Message: message,
		StartedAt: metav1.NewTime(x.Started.Truncate(time.Second)), FinishedAt: metav1.NewTime(x.Finished.Truncate(time.Second)),
		ContainerID: idPrefix + x.ID,
	}
	c.stopped(x.Finished, x.Finished.Sub(x.Started))
}

// failedStart notes a container that could not be started at all.
func (c *container) failedStart(now time.Time, message string) {
	t := metav1.NewTime(now.Truncate(time.Second))
	c.end = &corev1.ContainerStateTerminated{
		ExitCode: 128, Reason: "StartError", Message: message, StartedAt: metav1.Unix(0, 0), FinishedAt: t, ContainerID: idPrefix + c.id,
	}
	c.stopped(now, 0)
}

// lost notes a container whose end nobody saw.
func (c *container) lost(now time.Time) {
	c.end = &corev1.ContainerStateTerminated{
		ExitCode: 137, Reason: "ContainerStatusUnknown",
		Message:    "The container could not be located when the node agent started",
		FinishedAt: metav1.NewTime(now.Truncate(time.Second)), ContainerID: idPrefix + c.id,
	}
	c.stopped(now, 0)
}

func (c *container) stopped(at time.Time, ran time.Duration) {
	c.state, c.started, c.ready = cExited, false, false
	c.early = nil
	if ran > backoffReset {
		c.crash = backoff{}
	}
	c.notBefore = at.Add(c.crash.next(backoffFirst, backoffMax))
}

func endReason(x runtime.Container) string {
	switch {
	case x.OOMKilled:
		return "OOMKilled"
	case x.ExitCode == 0:
		return "Completed"
	}
	return "Error"
}
