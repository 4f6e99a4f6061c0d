package reconcile

import (
	"maps"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var jobKind = batchv1.SchemeGroupVersion.WithKind("Job")

// Delays before a failed pod of a job is followed by the next.
const (
	jobDelayMin = 10 * time.Second
	jobDelayMax = 6 * time.Minute
)

// jobCount is what a job's pods have come to.
type jobCount struct {
	active, ready, terminating, succeeded, failed int32
	lastFailure                                   time.Time
}

// syncJob starts pods until enough have succeeded or too many have failed.
func (e *Engine) syncJob(k key) {
	o := e.object(Jobs, k.ns, k.name)
	if o == nil || e.written[o.ref] {
		return
	}
	j := o.obj.(*batchv1.Job)
	f := e.flock(j.UID)
	delete(e.refused, o.ref)
	if j.DeletionTimestamp != nil || e.terminating(j.Namespace) {
		return
	}
	if jobDone(j) {
		e.expireJob(o, j)
		return
	}
	w := workload{o.ref, j, jobKind, "job-controller"}
	if e.adopt(w, f) || e.release(f) {
		return
	}
	c := countJob(f, &j.Status)
	s := j.Status.DeepCopy()
	turned := e.suspendJob(j, s)
	e.startJob(j, s)
	verdict := e.judgeJob(j, s, c)
	acted := false
	if verdict != nil || deref(j.Spec.Suspend) {
		acted = e.stopJobPods(f)
		c = countJob(f, &j.Status)
	} else {
		acted = e.runJobPods(w, j, c)
	}
	s.Active, s.Succeeded, s.Failed, s.Ready, s.Terminating = c.active, c.succeeded, c.failed, &c.ready, &c.terminating
	s.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{} // pods are counted in the step in which they have ended
	if verdict != nil {
		e.endJob(j, s, verdict)
	}
	if acted && verdict == nil && !turned || equality.Semantic.DeepEqual(s, &j.Status) {
		return
	}
	out := *j
	out.Status = *s
	e.put(Jobs, &out, o.rev)
}

func jobDone(j *batchv1.Job) bool {
	return slices.ContainsFunc(j.Status.Conditions, endsJob)
}

func endsJob(c batchv1.JobCondition) bool {
	return (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue
}

// countJob never counts back what its status says has ended: the pods may be gone.
func countJob(f *flock, s *batchv1.JobStatus) (c jobCount) {
	for _, p := range f.pods {
		switch {
		case !p.counted.controlled:
		case p.rec.Phase() == corev1.PodSucceeded:
			c.succeeded++
		case p.rec.Phase() == corev1.PodFailed:
			c.failed++
			c.lastFailure = later(c.lastFailure, finished(p))
		case p.counted.active:
			c.active++
			if p.counted.ready {
				c.ready++
			}
		case p.counted.terminating:
			c.terminating++
		}
	}
	c.failed, c.succeeded = max(c.failed, s.Failed), max(c.succeeded, s.Succeeded)
	return c
}

// finished is when the last container of an ended pod ended.
func finished(p *pod) (at time.Time) {
	s := p.rec.DecodeStatus()
	for i := range s.ContainerStatuses {
		if t := s.ContainerStatuses[i].State.Terminated; t != nil {
			at = later(at, t.FinishedAt.Time)
		}
	}
	return at
}

// suspendJob says that the job is suspended, and that it goes on. Its time is counted anew then.
func (e *Engine) suspendJob(j *batchv1.Job, s *batchv1.JobStatus) (turned bool) {
	i := slices.IndexFunc(s.Conditions, func(c batchv1.JobCondition) bool { return c.Type == batchv1.JobSuspended })
	was := i >= 0 && s.Conditions[i].Status == corev1.ConditionTrue
	suspended := deref(j.Spec.Suspend)
	if suspended == was {
		return false
	}
	c := e.jobCondition(batchv1.JobSuspended, "JobSuspended", "Job suspended")
	if !suspended {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, "JobResumed", "Job resumed"
		s.StartTime = nil
	}
	if i >= 0 {
		s.Conditions[i] = *c
	} else {
		s.Conditions = append(s.Conditions, *c)
	}
	e.event(j, jobKind, corev1.EventTypeNormal, strings.TrimPrefix(c.Reason, "Job"), "job-controller", c.Message)
	return true
}

func (e *Engine) startJob(j *batchv1.Job, s *batchv1.JobStatus) {
	if s.StartTime == nil && !deref(j.Spec.Suspend) {
		now := metav1.NewTime(e.now.Truncate(time.Second))
		s.StartTime = &now
	}
}

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

// judgeJob is the condition that ends the job; nil while it goes on.
func (e *Engine) judgeJob(j *batchv1.Job, s *batchv1.JobStatus, c jobCount) *batchv1.JobCondition {
	limit := int32(6)
	if j.Spec.BackoffLimit != nil {
		limit = *j.Spec.BackoffLimit
	}
	if verdict := e.announced(s); verdict != nil {
		return verdict
	}
	switch {
	case c.failed > limit:
		return e.jobCondition(batchv1.JobFailed, batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit")
	case e.jobLate(j, s):
		return e.jobCondition(batchv1.JobFailed, batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline")
	case j.Spec.Completions != nil && c.succeeded >= *j.Spec.Completions,
		j.Spec.Completions == nil && c.succeeded > 0 && c.active == 0:
		return e.jobCondition(batchv1.JobComplete, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods")
	}
	return nil
}

func (e *Engine) jobCondition(t batchv1.JobConditionType, reason, message string) *batchv1.JobCondition {
	now := metav1.NewTime(e.now.Truncate(time.Second))
	return &batchv1.JobCondition{Type: t, Status: corev1.ConditionTrue, Reason: reason, Message: message, LastProbeTime: now, LastTransitionTime: now}
}

// jobLate says whether activeDeadlineSeconds are over; if not it comes back then.
func (e *Engine) jobLate(j *batchv1.Job, s *batchv1.JobStatus) bool {
	if j.Spec.ActiveDeadlineSeconds == nil || s.StartTime == nil || deref(j.Spec.Suspend) {
		return false
	}
	end := s.StartTime.Add(time.Duration(*j.Spec.ActiveDeadlineSeconds) * time.Second)
	if !e.now.Before(end) {
		return true
	}
	e.wake(key{area: areaJob, ns: j.Namespace, name: j.Name}, end)
	return false
}

func (e *Engine) stopJobPods(f *flock) (acted bool) {
	for _, p := range podsByName(slices.Values(f.pods)) {
		if p.counted.active {
			e.doomPod(p, -1)
			acted = true
		}
	}
	return acted
}

// runJobPods keeps as many pods going as are useful and allowed.
func (e *Engine) runJobPods(w workload, j *batchv1.Job, c jobCount) bool {
	want := replicas(j.Spec.Parallelism)
	if j.Spec.Completions != nil {
		want = min(want, *j.Spec.Completions-c.succeeded)
	} else if c.succeeded > 0 {
		want = c.active // one success is enough: no new pods, the others may finish
	}
	f := e.flock(j.UID)
	switch diff := int(want - c.active); {
	case diff < 0:
		e.deleteSurplus(w, f, -diff)
		return true
	case diff > 0 && e.jobMayRetry(j, c):
		return e.createPods(w, jobTemplate(j), diff)
	}
	return false
}

// jobMayRetry keeps a growing distance from the last failure.
func (e *Engine) jobMayRetry(j *batchv1.Job, c jobCount) bool {
	if c.failed == 0 || c.lastFailure.IsZero() {
		return true
	}
	at := c.lastFailure.Add(min(jobDelayMin<<min(c.failed-1, 6), jobDelayMax))
	if !e.now.Before(at) {
		return true
	}
	k := key{area: areaJob, ns: j.Namespace, name: j.Name}
	if due, ok := e.due[k]; !ok || at.Before(due) {
		e.wake(k, at)
	}
	return false
}

func jobTemplate(j *batchv1.Job) *corev1.PodTemplateSpec {
	t := j.Spec.Template
	t.Labels = maps.Clone(t.Labels)
	if t.Labels == nil {
		t.Labels = map[string]string{}
	}
	for k, v := range jobLabels(j) {
		t.Labels[k] = v
	}
	return &t
}

// jobLabels are on every pod of a job; by them it knows its own where it has no selector.
func jobLabels(j *batchv1.Job) map[string]string {
	return map[string]string{
		batchv1.ControllerUidLabel: string(j.UID), "controller-uid": string(j.UID),
		batchv1.JobNameLabel: j.Name, "job-name": j.Name,
	}
}

// endJob announces the end, and ends the job when no pod is left that may still do something.
func (e *Engine) endJob(j *batchv1.Job, s *batchv1.JobStatus, c *batchv1.JobCondition) {
	if e.announced(s) == nil {
		before := *c
		before.Type = announcements[c.Type]
		s.Conditions = append(s.Conditions, before)
	}
	if s.Active > 0 || *s.Terminating > 0 {
		return
	}
	s.Conditions = append(s.Conditions, *c)
	if c.Type == batchv1.JobComplete {
		s.CompletionTime = &c.LastTransitionTime
		e.event(j, jobKind, corev1.EventTypeNormal, "Completed", "job-controller", "Job completed")
		return
	}
	e.event(j, jobKind, corev1.EventTypeWarning, c.Reason, "job-controller", c.Message)
}
