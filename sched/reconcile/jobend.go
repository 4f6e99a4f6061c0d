package reconcile

import (
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// announcements are the conditions that say how a job will end once its pods have ended.
var announcements = map[batchv1.JobConditionType]batchv1.JobConditionType{
	batchv1.JobComplete: batchv1.JobSuccessCriteriaMet, batchv1.JobFailed: batchv1.JobFailureTarget,
}

// announced is the end that was announced; nil if none was.
func (e *Engine) announced(s *batchv1.JobStatus) *batchv1.JobCondition {
	for _, c := range s.Conditions {
		for _, end := range []batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed} {
			if c.Type == announcements[end] && c.Status == corev1.ConditionTrue {
				return e.jobCondition(end, c.Reason, c.Message)
			}
		}
	}
	return nil
}

func (e *Engine) jobCondition(t batchv1.JobConditionType, reason, message string) *batchv1.JobCondition {
	now := metav1.NewTime(e.now.Truncate(time.Second))
	return &batchv1.JobCondition{Type: t, Status: corev1.ConditionTrue, Reason: reason, Message: message, LastProbeTime: now, LastTransitionTime: now}
}

// judge is the condition that ends the job; nil while it goes on. What was announced stands.
func (r *jobRun) judge() *batchv1.JobCondition {
	if end := r.e.announced(r.s); end != nil {
		return end
	}
	failed := func(reason, message string) *batchv1.JobCondition {
		return r.e.jobCondition(batchv1.JobFailed, reason, message)
	}
	if message := r.failedByRule(); message != "" {
		return failed(batchv1.JobReasonPodFailurePolicy, message)
	}
	if r.tooManyFailures() {
		return failed(batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit")
	}
	if r.late() {
		return failed(batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline")
	}
	lost, completions := r.lost.total(), r.j.Spec.Completions
	switch {
	case r.j.Spec.MaxFailedIndexes != nil && lost > int(*r.j.Spec.MaxFailedIndexes):
		return failed(batchv1.JobReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes")
	case lost > 0 && lost+r.done.total() >= int(deref(completions)):
		return failed(batchv1.JobReasonFailedIndexes, "Job has failed indexes")
	}
	if rule, enough := r.succeededByRule(); enough {
		return r.e.jobCondition(batchv1.JobComplete, batchv1.JobReasonSuccessPolicy, fmt.Sprintf("Matched rules at index %d", rule))
	}
	if r.active == 0 && (completions != nil && r.succeeded >= *completions || completions == nil && r.succeeded > 0) {
		return r.e.jobCondition(batchv1.JobComplete, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods")
	}
	return nil
}

// tooManyFailures counts pods, and where containers are started again in their pod also those.
func (r *jobRun) tooManyFailures() bool {
	limit := int32(6)
	if r.j.Spec.BackoffLimit != nil {
		limit = *r.j.Spec.BackoffLimit
	}
	if r.failed > limit {
		return true
	}
	if r.j.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return false
	}
	n := int32(0)
	for _, p := range r.f.pods {
		if p.counted.controlled && !p.rec.Terminal() {
			n += restarts(p)
		}
	}
	return n > 0 && n >= limit
}

// late says whether activeDeadlineSeconds are over; if not it comes back then.
func (r *jobRun) late() bool {
	if r.j.Spec.ActiveDeadlineSeconds == nil || r.s.StartTime == nil || r.suspended() || r.wasSuspended() {
		return false
	}
	end := r.s.StartTime.Add(time.Duration(*r.j.Spec.ActiveDeadlineSeconds) * time.Second)
	if !r.e.now.Before(end) {
		return true
	}
	r.wakeAt(end)
	return false
}

// stop ends what still runs.
func (r *jobRun) stop() {
	stopped := chosen(r.f, func(p *pod) bool { return p.counted.active })
	for _, p := range stopped {
		r.e.doomPod(p, -1)
	}
	r.e.saidDeleted(r.w, stopped)
}

// finish announces the end, and ends the job when no pod is left that may still do something or that is not counted yet.
func (r *jobRun) finish() {
	if r.e.announced(r.s) == nil {
		before := *r.end
		before.Type = announcements[r.end.Type]
		r.s.Conditions = append(r.s.Conditions, before)
	}
	u := r.s.UncountedTerminatedPods
	if r.s.Active > 0 || *r.s.Terminating > 0 || len(u.Succeeded)+len(u.Failed) > 0 || r.tracked > 0 {
		return
	}
	r.s.Conditions = append(r.s.Conditions, *r.end)
	if r.end.Type == batchv1.JobFailed {
		r.say(corev1.EventTypeWarning, r.end.Reason, r.end.Message)
		return
	}
	r.s.CompletionTime = &r.end.LastTransitionTime
	if n := r.j.Spec.Completions; n != nil && r.s.Succeeded > *n {
		r.say(corev1.EventTypeWarning, "TooManySucceededPods", "Too many succeeded pods running after completion count reached")
	}
	r.say(corev1.EventTypeNormal, "Completed", "Job completed")
}
