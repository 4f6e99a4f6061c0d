package autoscale

import (
	"fmt"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// Target is the workload whose number of pods is decided.
type Target struct {
	// Err says why it cannot be scaled; then nothing else counts.
	Err error
	// Replicas is how many pods it wants now.
	Replicas, Current int32
	// Selector is that of its pods, which are Pods; "" if it has none.
	Selector string
	Pods     []*corev1.Pod
}

// Usage is what pods use, by pod name. Pods that are not there have not been measured.
type Usage map[string]*metricsv1beta1.PodMetrics

// Event is something to tell about the autoscaler.
type Event struct{ Type, Reason, Message string }

// Decision is what is to be done.
type Decision struct {
	// Replicas is how many pods the target shall want; the number that it wants already if nothing changes.
	Replicas int32
	Status   autoscalingv2.HorizontalPodAutoscalerStatus
	Events   []Event
	// History is to be given to the next decision about the same autoscaler.
	History History
}

// Decide looks at an autoscaler once. It changes none of what it is given.
func Decide(a *autoscalingv2.HorizontalPodAutoscaler, t Target, u Usage, h History, now time.Time) Decision {
	l := &look{a: a, spec: &a.Spec, target: t, usage: u, now: now, behavior: behaviorOf(&a.Spec)}
	l.Status = *a.Status.DeepCopy()
	l.Status.ObservedGeneration = &a.Generation
	l.Replicas, l.History = t.Replicas, h
	if t.Err != nil {
		l.fail(autoscalingv2.AbleToScale, "FailedGetScale", "the HPA controller was unable to get the target's current scale: %v", t.Err)
		l.tell(corev1.EventTypeWarning, "FailedGetScale", t.Err.Error())
		return l.Decision
	}
	l.set(autoscalingv2.AbleToScale, corev1.ConditionTrue, "SucceededGetScale", "the HPA controller was able to get the target's current scale")
	l.History = h.begun(t.Replicas, now)
	l.Status.CurrentReplicas = t.Current
	if want, reason, ok := l.wanted(); ok {
		l.scale(want, reason)
	}
	return l.Decision
}

// look is one decision while it is made.
type look struct {
	Decision
	a        *autoscalingv2.HorizontalPodAutoscaler
	spec     *autoscalingv2.HorizontalPodAutoscalerSpec
	target   Target
	usage    Usage
	now      time.Time
	behavior behavior
}

func (l *look) least() int32 {
	if l.spec.MinReplicas != nil {
		return *l.spec.MinReplicas
	}
	return 1
}

// wanted is the number of pods, and why. ok is false if nothing can be said.
func (l *look) wanted() (n int32, reason string, ok bool) {
	current := l.target.Replicas
	switch {
	case current == 0 && l.least() != 0:
		l.fail(autoscalingv2.ScalingActive, "ScalingDisabled", "scaling is disabled since the replica count of the target is zero")
		return 0, "", true
	case current > l.spec.MaxReplicas:
		return l.spec.MaxReplicas, "Current number of replicas above Spec.MaxReplicas", true
	case current < l.least():
		return l.least(), "Current number of replicas below Spec.MinReplicas", true
	}
	proposed, metric, ok := l.measure()
	if !ok {
		l.Status.DesiredReplicas = current
		return 0, "", false
	}
	switch {
	case proposed > current:
		reason = metric + " above target"
	case proposed < current:
		reason = "All metrics below target"
	}
	return l.normalize(proposed), reason, true
}

func (l *look) scale(want int32, reason string) {
	l.Status.DesiredReplicas = want
	current := l.target.Replicas
	if want == current {
		return
	}
	l.Replicas = want
	now := metav1.NewTime(l.now.Truncate(time.Second))
	l.Status.LastScaleTime = &now
	l.set(autoscalingv2.AbleToScale, corev1.ConditionTrue, "SucceededRescale", fmt.Sprintf("the HPA controller was able to update the target scale to %d", want))
	l.tell(corev1.EventTypeNormal, "SuccessfulRescale", fmt.Sprintf("New size: %d; reason: %s", want, reason))
	l.History = l.History.changed(want-current, l.now, l.behavior)
}

// measure asks every metric, and takes the largest of the numbers that they propose. If some cannot be had, the others may still ask
// for more pods, never for fewer.
func (l *look) measure() (replicas int32, metric string, ok bool) {
	if l.target.Selector == "" {
		l.tell(corev1.EventTypeWarning, "SelectorRequired", "selector is required")
		l.fail(autoscalingv2.ScalingActive, "InvalidSelector", "the HPA target's scale is missing a selector")
		return 0, "", false
	}
	var statuses []autoscalingv2.MetricStatus
	var first *metricError
	invalid := 0
	for i := range l.spec.Metrics {
		p, err := l.propose(&l.spec.Metrics[i])
		statuses = append(statuses, p.status)
		if err != nil {
			l.tell(corev1.EventTypeWarning, err.reason, err.Error())
			if invalid++; first == nil {
				first = err
			}
			continue
		}
		if metric == "" || p.replicas > replicas {
			replicas, metric = p.replicas, p.metric
		}
	}
	l.Status.CurrentMetrics = statuses // in the order of the spec, which is how kubectl reads them
	if first != nil && (metric == "" || replicas < l.target.Replicas) {
		if invalid == len(statuses) {
			l.Status.CurrentMetrics = nil
		}
		l.fail(autoscalingv2.ScalingActive, first.reason, "the HPA was unable to compute the replica count: %v", first)
		l.tell(corev1.EventTypeWarning, "FailedComputeMetricsReplicas",
			fmt.Sprintf("invalid metrics (%d invalid out of %d), first error is: %v", invalid, len(l.spec.Metrics), first))
		return 0, "", false
	}
	l.set(autoscalingv2.ScalingActive, corev1.ConditionTrue, "ValidMetricFound", "the HPA was able to successfully calculate a replica count from "+metric)
	return replicas, metric, true
}

func (l *look) tell(kind, reason, message string) {
	l.Events = append(l.Events, Event{kind, reason, message})
}

func (l *look) fail(t autoscalingv2.HorizontalPodAutoscalerConditionType, reason, format string, args ...any) {
	l.set(t, corev1.ConditionFalse, reason, fmt.Sprintf(format, args...))
}

// set replaces a condition; the time of its transition stays while its status does.
func (l *look) set(t autoscalingv2.HorizontalPodAutoscalerConditionType, s corev1.ConditionStatus, reason, message string) {
	next := autoscalingv2.HorizontalPodAutoscalerCondition{Type: t, Status: s, Reason: reason, Message: message,
		LastTransitionTime: metav1.NewTime(l.now.Truncate(time.Second))}
	for i := range l.Status.Conditions {
		old := &l.Status.Conditions[i]
		if old.Type != t {
			continue
		}
		if old.Status == s {
			next.LastTransitionTime = old.LastTransitionTime
		}
		*old = next
		return
	}
	l.Status.Conditions = append(l.Status.Conditions, next)
}
