package api

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

var podColumns = []metav1.TableColumnDefinition{
	nameColumn,
	textColumn("Ready", "How many of the pod's containers are ready, of how many."),
	textColumn("Status", "What the pod is doing, or what keeps it from running."),
	textColumn("Restarts", "How often containers of the pod were restarted, and when last."),
	ageColumn,
	wide(textColumn("IP", "The pod's address; empty until it has one.")),
	wide(textColumn("Node", "The node that the pod runs on; empty until it is scheduled.")),
	wide(textColumn("Nominated Node", "The node that the pod waits for while others are evicted from it.")),
	wide(textColumn("Readiness Gates", "How many of the pod's readiness gates are met, of how many.")),
}

func podRow(p *corev1.Pod, now time.Time) []any {
	s := summarizePod(p)
	ip := p.Status.PodIP
	if ip == "" && len(p.Status.PodIPs) > 0 {
		ip = p.Status.PodIPs[0].IP
	}
	return []any{
		p.Name, fmt.Sprintf("%d/%d", s.ready, s.total), s.status, s.restartsText(now), age(p.CreationTimestamp, now),
		orNone(ip), orNone(p.Spec.NodeName), orNone(p.Status.NominatedNodeName), readinessGates(p),
	}
}

func orNone(s string) string {
	if s == "" {
		return cellNone
	}
	return s
}

func readinessGates(p *corev1.Pod) string {
	if len(p.Spec.ReadinessGates) == 0 {
		return cellNone
	}
	met := 0
	for _, g := range p.Spec.ReadinessGates {
		if c := PodCondition(&p.Status, g.ConditionType); c != nil && c.Status == corev1.ConditionTrue {
			met++
		}
	}
	return fmt.Sprintf("%d/%d", met, len(p.Spec.ReadinessGates))
}

// podSummary is a pod in a few words.
type podSummary struct {
	ready, total int
	status       string
	restarts     int32
	lastRestart  metav1.Time
}

func (s *podSummary) restartsText(now time.Time) string {
	if s.restarts == 0 || s.lastRestart.IsZero() {
		return fmt.Sprint(s.restarts)
	}
	return fmt.Sprintf("%d (%s ago)", s.restarts, duration.HumanDuration(now.Sub(s.lastRestart.Time)))
}

// count adds one container's restarts.
func (s *podSummary) count(c *corev1.ContainerStatus) {
	s.restarts += c.RestartCount
	if t := c.LastTerminationState.Terminated; t != nil && s.lastRestart.Before(&t.FinishedAt) {
		s.lastRestart = t.FinishedAt
	}
}

// PodStatusText is the word in the Status column of kubectl get pods.
func PodStatusText(p *corev1.Pod) string { return summarizePod(p).status }

func summarizePod(p *corev1.Pod) *podSummary {
	s := &podSummary{total: len(p.Spec.Containers), status: string(p.Status.Phase)}
	if p.Status.Reason != "" {
		s.status = p.Status.Reason
	}
	if c := PodCondition(&p.Status, corev1.PodScheduled); c != nil && c.Reason == corev1.PodReasonSchedulingGated {
		s.status = corev1.PodReasonSchedulingGated
	}
	sidecars := restartableInit(p)
	s.total += len(sidecars)
	initializing := s.readInit(p, sidecars)
	if !initializing || initialized(&p.Status) {
		s.readContainers(p, sidecars)
	}
	switch {
	case p.DeletionTimestamp == nil:
	case p.Status.Reason == nodeLost:
		s.status = string(corev1.PodUnknown)
	case !podEnded(p.Status.Phase):
		s.status = "Terminating"
	}
	return s
}

// nodeLost is the reason of pods whose node has not been heard of for long.
const nodeLost = "NodeLost"

func podEnded(phase corev1.PodPhase) bool {
	return phase == corev1.PodSucceeded || phase == corev1.PodFailed
}

func initialized(s *corev1.PodStatus) bool {
	c := PodCondition(s, corev1.PodInitialized)
	return c != nil && c.Status == corev1.ConditionTrue
}

// restartableInit names the init containers that run on beside the main ones.
func restartableInit(p *corev1.Pod) map[string]bool {
	out := map[string]bool{}
	for i := range p.Spec.InitContainers {
		if c := &p.Spec.InitContainers[i]; sidecar(c) {
			out[c.Name] = true
		}
	}
	return out
}

func sidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// readInit finds the first init container that is not done; the status is then its state. It says
// whether there is one.
func (s *podSummary) readInit(p *corev1.Pod, sidecars map[string]bool) bool {
	for i := range p.Status.InitContainerStatuses {
		c := &p.Status.InitContainerStatuses[i]
		s.count(c)
		switch t, w := c.State.Terminated, c.State.Waiting; {
		case t != nil && t.ExitCode == 0:
			continue
		case sidecars[c.Name] && c.Started != nil && *c.Started:
			if c.Ready {
				s.ready++
			}
			continue
		case t != nil:
			s.status = "Init:" + terminatedText(t)
		case w != nil && w.Reason != "" && w.Reason != "PodInitializing":
			s.status = "Init:" + w.Reason
		default:
			s.status = fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
		return true
	}
	return false
}

// terminatedText is the reason, or else what killed the process.
func terminatedText(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}

// readContainers looks from the last container to the first, so that the first one's trouble is
// the one shown. Restarts count anew here: those of finished init containers no longer matter, only
// those of containers that still run.
func (s *podSummary) readContainers(p *corev1.Pod, sidecars map[string]bool) {
	s.restarts, s.lastRestart = 0, metav1.Time{}
	for i := range p.Status.InitContainerStatuses {
		if c := &p.Status.InitContainerStatuses[i]; sidecars[c.Name] {
			s.count(c)
		}
	}
	running := false
	for i := len(p.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := &p.Status.ContainerStatuses[i]
		s.count(c)
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			s.status = c.State.Waiting.Reason
		case c.State.Terminated != nil:
			s.status = terminatedText(c.State.Terminated)
		case c.Ready && c.State.Running != nil:
			running = true
			s.ready++
		}
	}
	// A container that ended well does not make the pod complete while another one runs.
	if s.status == "Completed" && running {
		if PodReady(&p.Status) {
			s.status = "Running"
		} else {
			s.status = "NotReady"
		}
	}
}
