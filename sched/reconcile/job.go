package reconcile

import (
	"maps"
	"slices"
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
	active, ready, succeeded, failed int32
	lastFailure                      time.Time
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
	c := countJob(f)
	c.failed = max(c.failed, j.Status.Failed)
	c.succeeded = max(c.succeeded, j.Status.Succeeded)
	s := j.Status.DeepCopy()
	e.startJob(j, s)
	verdict := e.judgeJob(j, s, c)
	acted := false
	if verdict != nil || deref(j.Spec.Suspend) {
		acted = e.stopJobPods(f)
	} else {
		acted = e.runJobPods(w, j, c)
	}
	s.Active, s.Succeeded, s.Failed, s.Ready = c.active, c.succeeded, c.failed, &c.ready
	if verdict != nil {
		e.endJob(j, s, verdict, acted)
	}
	if acted && verdict == nil || equality.Semantic.DeepEqual(s, &j.Status) {
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

func countJob(f *flock) (c jobCount) {
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
		}
	}
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

func (e *Engine) startJob(j *batchv1.Job, s *batchv1.JobStatus) {
	if s.StartTime == nil && !deref(j.Spec.Suspend) {
		now := metav1.NewTime(e.now.Truncate(time.Second))
		s.StartTime = &now
	}
}

// judgeJob is the condition that ends the job; nil while it goes on.
func (e *Engine) judgeJob(j *batchv1.Job, s *batchv1.JobStatus, c jobCount) *batchv1.JobCondition {
	limit := int32(6)
	if j.Spec.BackoffLimit != nil {
		limit = *j.Spec.BackoffLimit
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
	if j.Spec.ActiveDeadlineSeconds == nil || s.StartTime == nil {
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

func (e *Engine) endJob(j *batchv1.Job, s *batchv1.JobStatus, c *batchv1.JobCondition, stopped bool) {
	s.Conditions = append(s.Conditions, *c)
	if stopped {
		s.Active, *s.Ready = 0, 0
	}
	if c.Type == batchv1.JobComplete {
		s.CompletionTime = &c.LastTransitionTime
		e.event(j, jobKind, corev1.EventTypeNormal, "Completed", "job-controller", "Job completed")
		return
	}
	e.event(j, jobKind, corev1.EventTypeWarning, c.Reason, "job-controller", c.Message)
}
