package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// status is the pod's status as Kubernetes would show it, from the life alone.
func (l *life) status(nodeIPs []netip.Addr, now time.Time) corev1.PodStatus {
	api := &l.pod.Status
	st := corev1.PodStatus{
		ObservedGeneration: l.pod.Generation,
		Phase:              l.currentPhase(),
		NominatedNodeName:  api.NominatedNodeName,
		QOSClass:           podQOS(l.pod),
	}
	if terminal(st.Phase) {
		st.Reason, st.Message = l.doomReason, l.doomMessage // not before it has ended: whoever reads them believes that it has
	}
	if !l.startTime.IsZero() {
		t := metaTime(l.startTime)
		st.StartTime = &t
	}
	for i, ip := range nodeIPs {
		if i == 0 {
			st.HostIP = ip.String()
		}
		st.HostIPs = append(st.HostIPs, corev1.HostIP{IP: ip.String()})
	}
	for _, ip := range l.podIPs(nodeIPs) {
		st.PodIPs = append(st.PodIPs, corev1.PodIP{IP: ip})
	}
	if len(st.PodIPs) > 0 {
		st.PodIP = st.PodIPs[0].IP
	}
	for _, c := range l.conts {
		cs := l.containerStatus(c)
		switch c.role {
		case roleMain:
			st.ContainerStatuses = append(st.ContainerStatuses, cs)
		case roleEphemeral:
			st.EphemeralContainerStatuses = append(st.EphemeralContainerStatuses, cs)
		default:
			st.InitContainerStatuses = append(st.InitContainerStatuses, cs)
		}
	}
	st.Conditions = l.conditions(now)
	l.showPodLevel(&st)
	return st
}

// podIPs are the pod's own addresses, or those of the node that it shares.
func (l *life) podIPs(nodeIPs []netip.Addr) []string {
	if l.pod.Spec.HostNetwork && l.sandbox > sandboxStarting {
		return addrStrings(nodeIPs)
	}
	return l.ips
}

// primary is a pod's primary address; "" if it has none.
func primary(ips []string) string {
	if len(ips) == 0 {
		return ""
	}
	return ips[0]
}

// currentPhase is the phase to show: a pod whose end is settled has not ended while a sidecar of it still runs. What others have written
// is not taken back meanwhile.
func (l *life) currentPhase() corev1.PodPhase {
	if l.decreed != "" {
		return l.decreed
	}
	if l.terminal() && l.starting == nil && l.running() == 0 {
		return l.phase
	}
	for _, c := range l.conts {
		if c.role == roleMain && (c.state == cRunning || c.starts > 1 || c.state == cExited) {
			return l.runningUnlessWaiting()
		}
	}
	return corev1.PodPending
}

// runningUnlessWaiting: a pod is Pending until every one of its containers was started once.
func (l *life) runningUnlessWaiting() corev1.PodPhase {
	for _, c := range l.conts {
		if c.role == roleMain && (c.starts == 0 || c.starts == 1 && c.state == cStarting) {
			return corev1.PodPending
		}
	}
	return corev1.PodRunning
}

// faulty says whether a container waits for a reason that a person should see at once.
func (l *life) faulty() bool {
	for _, c := range l.conts {
		if c.waitReason != "" || c.state == cExited && c.end != nil && c.end.ExitCode != 0 {
			return true
		}
	}
	return false
}

func (l *life) containerStatus(c *container) corev1.ContainerStatus {
	started := c.state == cRunning && c.started
	cs := corev1.ContainerStatus{
		Name: c.spec.Name, Image: c.spec.Image, ImageID: c.imageID, RestartCount: int32(max(0, c.starts-1)),
		Started: &started, Ready: c.state == cRunning && c.ready || c.role == roleInit && c.succeeded(),
	}
	if c.role == roleEphemeral {
		cs.Started, cs.Ready = nil, false // nobody asks an ephemeral container whether it is ready
	}
	if c.state == cRunning || c.state == cExited {
		cs.User, cs.VolumeMounts = c.user, c.mounts
	}
	if c.id != "" && c.state != cStarting {
		cs.ContainerID = idPrefix + c.id
	}
	c.showResources(&cs)
	cs.State, cs.LastTerminationState = l.states(c)
	return cs
}

// states are the container's current and last states. A container that waits to be started again shows its
// end as the last state.
func (l *life) states(c *container) (now, last corev1.ContainerState) {
	if c.last != nil {
		last.Terminated = c.last
	}
	switch {
	case c.state == cRunning:
		now.Running = &corev1.ContainerStateRunning{StartedAt: metaTime(c.began)}
	case c.state == cExited && c.waitReason == "" && (l.ending() || !c.restartable(l.policy()) || c.crash.Delay <= backoffFirst):
		now.Terminated = c.end
	default:
		if c.state == cExited {
			last.Terminated = c.end
		}
		now.Waiting = l.waiting(c)
	}
	return now, last
}

func (l *life) waiting(c *container) *corev1.ContainerStateWaiting {
	switch {
	case c.waitReason != "":
		return &corev1.ContainerStateWaiting{Reason: c.waitReason, Message: c.waitMessage}
	case c.state == cExited:
		return &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: fmt.Sprintf(
			"back-off %s restarting failed container=%s pod=%s_%s(%s)", c.lastDelay(), c.spec.Name, l.pod.Name, l.pod.Namespace, l.pod.UID)}
	case len(l.pod.Spec.InitContainers) > 0 && c.role != roleEphemeral && (c.role != roleMain || !l.initialized()):
		return &corev1.ContainerStateWaiting{Reason: "PodInitializing"}
	}
	return &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
}

// lastDelay is the wait that the container is in.
func (c *container) lastDelay() time.Duration {
	if c.crash.Delay >= backoffMax {
		return c.notBefore.Sub(c.end.FinishedAt.Time).Round(10 * time.Second)
	}
	return c.crash.Delay / 2
}

// conditions are the agent's own, with the time of their last change, and whatever others have set.
func (l *life) conditions(now time.Time) []corev1.PodCondition {
	unready, uninit := l.unready()
	gates := l.gate()
	own := append(append(l.passingConditions(), l.fencedCondition()...), []corev1.PodCondition{
		truth(corev1.PodReadyToStartContainers, l.sandbox == sandboxReady || l.sandbox == sandboxRemoving, "", ""),
		l.initializedCondition(uninit),
		l.readyCondition(corev1.PodReady, unready, gates),
		l.readyCondition(corev1.ContainersReady, unready, nil),
		truth(corev1.PodScheduled, true, "", ""),
	}...)
	out := make([]corev1.PodCondition, 0, len(own)+1)
	for _, c := range own {
		c.ObservedGeneration = l.pod.Generation
		c.LastTransitionTime = metaTime(now)
		if old := findCondition(l.shown.Conditions, c.Type); old != nil && old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		out = append(out, c)
	}
	for _, c := range l.pod.Status.Conditions {
		if !slices.Contains(passing, c.Type) && findCondition(own, c.Type) == nil {
			out = append(out, c)
		}
	}
	return out
}

// passing are the agent's conditions that are there only while something goes on.
var passing = []corev1.PodConditionType{corev1.PodResizePending, corev1.PodResizeInProgress, corev1.AllContainersRestarting}

func (l *life) passingConditions() []corev1.PodCondition {
	out := l.resizeConditions()
	if l.doomReason == reasonEvicted && l.decreed == "" {
		out = append(out, truth(corev1.DisruptionTarget, true, corev1.PodReasonTerminationByKubelet, l.doomMessage))
	}
	if l.restartAll && !l.ending() {
		out = append(out, truth(corev1.AllContainersRestarting, true, "", ""))
	}
	return out
}

// unready lists the containers that are not ready, and the init containers that are not done.
func (l *life) unready() (unready, uninit []string) {
	done := l.initialized()
	for _, c := range l.conts {
		switch {
		case c.role == roleMain && !(c.state == cRunning && c.ready):
			unready = append(unready, c.spec.Name)
		case c.role == roleSidecar && !(c.state == cRunning && c.ready):
			unready = append(unready, c.spec.Name)
			if !done && !c.started {
				uninit = append(uninit, c.spec.Name)
			}
		case c.role == roleInit && !done && !c.succeeded():
			uninit = append(uninit, c.spec.Name)
		}
	}
	return unready, uninit
}

// gate lists the readiness gates that are not open.
func (l *life) gate() (closed []string) {
	for _, g := range l.pod.Spec.ReadinessGates {
		c := findCondition(l.pod.Status.Conditions, g.ConditionType)
		if c == nil || c.Status != corev1.ConditionTrue {
			closed = append(closed, string(g.ConditionType))
		}
	}
	return closed
}

func (l *life) initializedCondition(uninit []string) corev1.PodCondition {
	switch {
	case l.currentPhase() == corev1.PodSucceeded:
		return truth(corev1.PodInitialized, true, "PodCompleted", "")
	case len(uninit) > 0:
		return truth(corev1.PodInitialized, false, "ContainersNotInitialized",
			fmt.Sprintf("containers with incomplete status: [%s]", strings.Join(uninit, " ")))
	}
	return truth(corev1.PodInitialized, true, "", "")
}

func (l *life) readyCondition(kind corev1.PodConditionType, unready, gates []string) corev1.PodCondition {
	switch {
	case l.currentPhase() == corev1.PodSucceeded:
		return truth(kind, false, "PodCompleted", "")
	case l.currentPhase() == corev1.PodFailed:
		return truth(kind, false, "PodFailed", "")
	case len(unready) > 0:
		return truth(kind, false, "ContainersNotReady", fmt.Sprintf("containers with unready status: [%s]", strings.Join(unready, " ")))
	case len(gates) > 0:
		return truth(kind, false, "ReadinessGatesNotReady", fmt.Sprintf("the status of pod readiness gate %q is not \"True\"", gates[0]))
	}
	return truth(kind, true, "", "")
}

func truth(kind corev1.PodConditionType, yes bool, reason, message string) corev1.PodCondition {
	c := corev1.PodCondition{Type: kind, Status: corev1.ConditionFalse, Reason: reason, Message: message}
	if yes {
		c.Status = corev1.ConditionTrue
	}
	return c
}

func findCondition(list []corev1.PodCondition, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range list {
		if list[i].Type == kind {
			return &list[i]
		}
	}
	return nil
}
