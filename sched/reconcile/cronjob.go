package reconcile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
)

var cronJobKind = batchv1.SchemeGroupVersion.WithKind("CronJob")

// cronRun is one look at a cron job. s is the status to be written, jobs are those that it controls, also ones that a person made from it.
type cronRun struct {
	e    *Engine
	o    *object
	c    *batchv1.CronJob
	s    *batchv1.CronJobStatus
	jobs []*object
}

// syncCronJob makes a job when it is time for one, and clears up behind those that have ended. It writes CronJobs' statuses and jobs.
func (e *Engine) syncCronJob(k key) {
	o := e.object(CronJobs, k.ns, k.name)
	if o == nil || e.written[o.ref] {
		return
	}
	c := o.obj.(*batchv1.CronJob)
	if c.DeletionTimestamp != nil || e.terminating(c.Namespace) {
		return
	}
	r := &cronRun{e: e, o: o, c: c, s: c.Status.DeepCopy(), jobs: e.jobsOf(o)}
	r.follow()
	r.keepTime(k)
	r.clearHistory()
	if !equality.Semantic.DeepEqual(r.s, &c.Status) {
		out := *c
		out.Status = *r.s
		e.put(CronJobs, &out, o.rev)
	}
}

// jobsOf are the jobs that a cron job controls, by name.
func (e *Engine) jobsOf(o *object) (out []*object) {
	for r := range e.dependents[o.meta.GetUID()] {
		if j := e.objects[r]; j != nil && r.gr == Jobs {
			if w := metav1.GetControllerOfNoCopy(j.meta); w != nil && w.UID == o.meta.GetUID() {
				out = append(out, j)
			}
		}
	}
	slices.SortFunc(out, func(a, b *object) int { return compareRefs(a.ref, b.ref) })
	return out
}

// markCronJob marks the cron job of a job.
func (e *Engine) markCronJob(o *object) {
	if w := metav1.GetControllerOfNoCopy(o.meta); w != nil && w.Kind == cronJobKind.Kind {
		e.mark(key{area: areaCronJob, ns: o.ns, name: w.Name})
	}
}

func (r *cronRun) say(kind, reason, format string, a ...any) {
	r.e.event(r.c, cronJobKind, kind, reason, "cronjob-controller", fmt.Sprintf(format, a...))
}

// follow keeps the list of active jobs, and the time of the last success.
func (r *cronRun) follow() {
	known := map[string]bool{}
	for _, o := range r.jobs {
		j := o.obj.(*batchv1.Job)
		known[string(j.UID)] = true
		r.followJob(j)
	}
	r.s.Active = slices.DeleteFunc(r.s.Active, func(a corev1.ObjectReference) bool {
		missing := !known[string(a.UID)]
		if missing {
			r.say(corev1.EventTypeNormal, "MissingJob", "Active job went missing: %v", a.Name)
		}
		return missing
	})
}

func (r *cronRun) followJob(j *batchv1.Job) {
	at := slices.IndexFunc(r.s.Active, func(a corev1.ObjectReference) bool { return a.UID == j.UID })
	end := endOf(j)
	switch {
	case at < 0 && end == "" && r.ours(j):
		r.activate(j) // it was made, and the write that says so failed
	case at < 0 && end == "":
		r.say(corev1.EventTypeWarning, "UnexpectedJob", "Saw a job that the controller did not create or forgot: %s", j.Name)
	case at >= 0 && end != "":
		r.s.Active = slices.Delete(r.s.Active, at, at+1)
		r.say(corev1.EventTypeNormal, "SawCompletedJob", "Saw completed job: %s, condition: %v", j.Name, end)
	}
	if t := j.Status.CompletionTime; end == batchv1.JobComplete && t != nil && (r.s.LastSuccessfulTime == nil || t.After(r.s.LastSuccessfulTime.Time)) {
		r.s.LastSuccessfulTime = t.DeepCopy()
	}
}

// endOf is how the job has ended; "" while it goes on.
func endOf(j *batchv1.Job) batchv1.JobConditionType {
	if i := slices.IndexFunc(j.Status.Conditions, endsJob); i >= 0 {
		return j.Status.Conditions[i].Type
	}
	return ""
}

// ours says whether the job was made by the schedule, and after the last one that is known.
func (r *cronRun) ours(j *batchv1.Job) bool {
	at, err := time.Parse(time.RFC3339, j.Annotations[batchv1.CronJobScheduledTimestampAnnotation])
	return err == nil && j.Name == jobNameAt(r.c, at) && (r.s.LastScheduleTime == nil || at.After(r.s.LastScheduleTime.Time))
}

func (r *cronRun) activate(j *batchv1.Job) {
	at, err := time.Parse(time.RFC3339, j.Annotations[batchv1.CronJobScheduledTimestampAnnotation])
	if err != nil {
		return
	}
	r.s.LastScheduleTime = &metav1.Time{Time: at.UTC()}
	r.s.Active = append(r.s.Active, corev1.ObjectReference{APIVersion: jobKind.GroupVersion().String(), Kind: jobKind.Kind,
		Namespace: j.Namespace, Name: j.Name, UID: j.UID, ResourceVersion: j.ResourceVersion})
}

// keepTime makes the job that is due, and comes back for the next.
func (r *cronRun) keepTime(k key) {
	if deref(r.c.Spec.Suspend) {
		return
	}
	s, zone, ok := r.schedule()
	if !ok {
		return
	}
	now := r.e.now
	due := s.since(r.earliest(), now)
	if next := s.next(later(r.earliest(), due.last), now); !next.IsZero() {
		r.e.wake(k, next)
	}
	if due.last.IsZero() {
		return
	}
	if due.count > missedMany {
		r.say(corev1.EventTypeWarning, "TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew")
	}
	if d := r.c.Spec.StartingDeadlineSeconds; d != nil && due.last.Add(time.Duration(*d)*time.Second).Before(now) {
		r.say(corev1.EventTypeWarning, "MissSchedule", "Missed scheduled time to start a job: %s", due.last.UTC().Format(time.RFC1123Z))
		return
	}
	if r.mayStart() {
		r.makeJob(due.last.In(zone))
	}
}

// earliest is the time after which starts are due: the last one, or the beginning; nothing that is too late by now.
func (r *cronRun) earliest() time.Time {
	at := r.c.CreationTimestamp.Time
	if r.s.LastScheduleTime != nil {
		at = r.s.LastScheduleTime.Time
	}
	if d := r.c.Spec.StartingDeadlineSeconds; d != nil {
		at = later(at, r.e.now.Add(-time.Duration(*d)*time.Second))
	}
	return at
}

// mayStart asks what happens if the last job has not ended.
func (r *cronRun) mayStart() bool {
	if len(r.s.Active) == 0 {
		return true
	}
	switch r.c.Spec.ConcurrencyPolicy {
	case batchv1.ForbidConcurrent:
		r.say(corev1.EventTypeNormal, "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid")
		return false
	case batchv1.ReplaceConcurrent:
		for _, o := range r.jobs {
			if slices.ContainsFunc(r.s.Active, func(a corev1.ObjectReference) bool { return a.UID == o.meta.GetUID() }) {
				r.deleteJob(o)
			}
		}
	}
	return true
}

// deleteJob deletes a job; the garbage collector takes its pods.
func (r *cronRun) deleteJob(o *object) {
	r.e.deleteObject(o, "")
	r.s.Active = slices.DeleteFunc(r.s.Active, func(a corev1.ObjectReference) bool { return a.UID == o.meta.GetUID() })
	r.say(corev1.EventTypeNormal, "SuccessfulDelete", "Deleted job %v", o.name)
}

// jobNameAt is the name of the job that begins at a time: it cannot be made twice.
func jobNameAt(c *batchv1.CronJob, at time.Time) string {
	return fmt.Sprintf("%s-%d", c.Name, at.Unix()/60)
}

// makeJob makes the job of a time, as it would have become on its way through the API.
func (r *cronRun) makeJob(at time.Time) {
	t := r.c.Spec.JobTemplate.DeepCopy()
	j := &batchv1.Job{Spec: t.Spec, ObjectMeta: metav1.ObjectMeta{
		Namespace: r.c.Namespace, Name: jobNameAt(r.c, at), Labels: t.Labels, Annotations: maps.Clone(t.Annotations),
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(r.c, cronJobKind)},
	}}
	if j.Annotations == nil {
		j.Annotations = map[string]string{}
	}
	j.Annotations[batchv1.CronJobScheduledTimestampAnnotation] = at.Format(time.RFC3339)
	if known := r.e.object(Jobs, j.Namespace, j.Name); known != nil {
		r.nameTaken(known, at)
		return
	}
	r.e.stamp(&j.ObjectMeta)
	kind := api.KindFor(Jobs)
	kind.Default(j)
	kind.PrepareForCreate(j)
	if errs := kind.Validate(j); len(errs) > 0 {
		r.say(corev1.EventTypeWarning, reasonRefused, "Error creating job: Job.batch %q is invalid: %s", j.Name, strings.TrimSpace(errs.ToAggregate().Error()))
		return
	}
	r.e.put(Jobs, j, 0)
	r.activate(j)
	r.say(corev1.EventTypeNormal, "SuccessfulCreate", "Created job %v", j.Name)
}

// nameTaken says that a job of somebody else stands in the way; one of its own has run already.
func (r *cronRun) nameTaken(o *object, at time.Time) {
	if w := metav1.GetControllerOfNoCopy(o.meta); w != nil && w.UID == r.c.UID {
		r.s.LastScheduleTime = &metav1.Time{Time: at.UTC()}
		return
	}
	r.say(corev1.EventTypeWarning, reasonRefused, "Error creating job: jobs.batch %q already exists", o.name)
}

// clearHistory deletes the oldest jobs that have ended, down to the numbers that are kept.
func (r *cronRun) clearHistory() {
	keep := map[batchv1.JobConditionType]*int32{batchv1.JobComplete: r.c.Spec.SuccessfulJobsHistoryLimit, batchv1.JobFailed: r.c.Spec.FailedJobsHistoryLimit}
	for _, end := range []batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed} {
		if keep[end] == nil {
			continue
		}
		var ended []*object
		for _, o := range r.jobs {
			if endOf(o.obj.(*batchv1.Job)) == end && o.meta.GetDeletionTimestamp() == nil {
				ended = append(ended, o)
			}
		}
		slices.SortStableFunc(ended, func(a, b *object) int { return startOf(a).Compare(startOf(b)) })
		for _, o := range ended[:max(0, len(ended)-int(*keep[end]))] {
			r.deleteJob(o)
		}
	}
}

// startOf is when a job began; one that never did counts as the youngest.
func startOf(o *object) time.Time {
	if t := o.obj.(*batchv1.Job).Status.StartTime; t != nil {
		return t.Time
	}
	return o.meta.GetCreationTimestamp().Add(100 * 365 * 24 * time.Hour)
}
