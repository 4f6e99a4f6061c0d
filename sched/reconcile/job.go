package reconcile

import (
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var jobKind = batchv1.SchemeGroupVersion.WithKind("Job")

const jobComponent = "job-controller"

// jobRun is one look at a job that goes on. s is the status to be written; j.Status is the one that is known to be in the log, and
// only by that one is a pod let go.
type jobRun struct {
	e *Engine
	w workload
	o *object
	j *batchv1.Job
	s *batchv1.JobStatus
	f *flock

	jobCount
	end  *batchv1.JobCondition // Complete or Failed, nil while the job goes on
	next time.Time             // when there is more to do although nothing was observed; zero is never
}

// syncJob starts pods until enough have succeeded or too many have failed. It writes Jobs' statuses and pods.
func (e *Engine) syncJob(k key) {
	o := e.object(Jobs, k.ns, k.name)
	if o == nil || e.written[o.ref] {
		return
	}
	j, f := o.obj.(*batchv1.Job), e.flock(o.meta.GetUID())
	delete(e.refused, o.ref)
	switch {
	case jobManagedByOthers(j):
		e.expireJob(o, j)
	case jobDone(j):
		e.untrackAll(f)
		e.expireJob(o, j)
	case j.DeletionTimestamp != nil || e.terminating(j.Namespace):
		e.untrackEnded(f)
	default:
		w := workload{ref: o.ref, obj: j, gvk: jobKind, component: jobComponent}
		if !e.adopt(w, f) && !e.release(f) {
			r := &jobRun{e: e, w: w, o: o, j: j, s: j.Status.DeepCopy(), f: f}
			r.run(k)
		}
	}
}

// jobManagedByOthers says whether somebody else looks after the job.
func jobManagedByOthers(j *batchv1.Job) bool {
	return j.Spec.ManagedBy != nil && *j.Spec.ManagedBy != batchv1.JobControllerName
}

func jobDone(j *batchv1.Job) bool {
	return slices.ContainsFunc(j.Status.Conditions, endsJob)
}

func endsJob(c batchv1.JobCondition) bool {
	return (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue
}

func (r *jobRun) indexed() bool { return deref(r.j.Spec.CompletionMode) == batchv1.IndexedCompletion }

func (r *jobRun) perIndex() bool { return r.indexed() && r.j.Spec.BackoffLimitPerIndex != nil }

func (r *jobRun) suspended() bool { return deref(r.j.Spec.Suspend) }

// run decides in the order in which the parts depend on one another: what has happened, whether that is the end, which pods come and go
// for it, and what is written down.
func (r *jobRun) run(k key) {
	r.settle()
	r.survey()
	r.end = r.judge()
	started := int32(0)
	if r.end != nil {
		r.stop()
	} else {
		r.suspendOrResume()
		started = r.manage()
	}
	r.start()
	r.track()
	r.report(started)
	if !r.next.IsZero() {
		r.e.wake(k, r.next)
	}
	if !equality.Semantic.DeepEqual(r.s, &r.j.Status) {
		out := *r.j
		out.Status = *r.s
		r.e.put(Jobs, &out, r.o.rev)
	}
}

// report counts what there is after the pods that this step starts and stops.
func (r *jobRun) report(started int32) {
	var active, ready, terminating int32
	for _, p := range r.f.pods {
		active += one(p.counted.active)
		ready += one(p.counted.ready)
		terminating += one(p.counted.terminating)
	}
	r.s.Active, r.s.Ready, r.s.Terminating = active+started, &ready, &terminating
	if r.indexed() {
		r.s.Succeeded, r.s.CompletedIndexes = int32(r.done.total()), r.done.String()
		if r.perIndex() {
			lost := r.lost.String()
			r.s.FailedIndexes = &lost
		}
	}
	if r.end != nil {
		r.finish()
	}
}

func one(is bool) int32 {
	if is {
		return 1
	}
	return 0
}

// wakeAt comes back at a time, or earlier if that was asked for too.
func (r *jobRun) wakeAt(at time.Time) {
	if r.next.IsZero() || at.Before(r.next) {
		r.next = at
	}
}

// wasSuspended says whether the job is known to be suspended, although it may go on from now.
func (r *jobRun) wasSuspended() bool {
	return slices.ContainsFunc(r.s.Conditions, func(c batchv1.JobCondition) bool {
		return c.Type == batchv1.JobSuspended && c.Status == corev1.ConditionTrue
	})
}

// suspendOrResume says that the job is suspended, and that it goes on. Its time is counted anew then.
func (r *jobRun) suspendOrResume() {
	i := slices.IndexFunc(r.s.Conditions, func(c batchv1.JobCondition) bool { return c.Type == batchv1.JobSuspended })
	if r.suspended() == r.wasSuspended() {
		return
	}
	c, said := r.e.jobCondition(batchv1.JobSuspended, "JobSuspended", "Job suspended"), "Suspended"
	if !r.suspended() {
		c.Status, c.Reason, c.Message, said = corev1.ConditionFalse, "JobResumed", "Job resumed", "Resumed"
		r.s.StartTime = nil
	}
	if i >= 0 {
		r.s.Conditions[i] = *c
	} else {
		r.s.Conditions = append(r.s.Conditions, *c)
	}
	r.say(corev1.EventTypeNormal, said, c.Message)
}

// start notes when the job began.
func (r *jobRun) start() {
	if r.s.StartTime == nil && !r.suspended() {
		now := metav1.NewTime(r.e.now.Truncate(time.Second))
		r.s.StartTime = &now
	}
}

func (r *jobRun) say(kind, reason, message string) {
	r.e.event(r.j, jobKind, kind, reason, jobComponent, message)
}

// completionIndex is which part of an indexed job the pod does; -1 if it says none.
func completionIndex(p *pod) int {
	n, err := strconv.Atoi(p.rec.Template.Pod.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil || n < 0 {
		return -1
	}
	return n
}
