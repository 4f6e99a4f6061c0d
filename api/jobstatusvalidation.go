package api

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// jobStatusChange is a job before and after a write of its status. A rule about what did not change is not asked: what was wrong already
// may stay, so that a job can be repaired in steps, and its controller may be behind its spec.
type jobStatusChange struct {
	job      *batchv1.Job
	now, was *batchv1.JobStatus
	path     *field.Path
	errs     field.ErrorList
}

// validateJobStatus checks what a controller writes of a job: a job ends once, and counts go up (KEP-4368, KEP-3998).
func validateJobStatus(j, old *batchv1.Job) field.ErrorList {
	c := &jobStatusChange{job: j, now: &j.Status, was: &old.Status, path: field.NewPath("status")}
	n := counts{path: c.path}
	n.add("active", c.now.Active)
	n.add("succeeded", c.now.Succeeded)
	n.add("failed", c.now.Failed)
	n.add("ready", valueOf(c.now.Ready))
	n.add("terminating", valueOf(c.now.Terminating))
	c.errs = append(n.errs, validateUncounted(c.now.UncountedTerminatedPods, c.path.Child("uncountedTerminatedPods"))...)
	c.conditions()
	c.times()
	c.finished()
	c.indexes()
	c.counters()
	return c.errs
}

func validateUncounted(u *batchv1.UncountedTerminatedPods, path *field.Path) (errs field.ErrorList) {
	if u == nil {
		return nil
	}
	seen := map[types.UID]bool{}
	check := func(list []types.UID, name string) {
		for i, uid := range list {
			at := path.Child(name).Index(i)
			switch {
			case uid == "":
				errs = append(errs, field.Invalid(at, uid, "must not be empty"))
			case seen[uid]:
				errs = append(errs, field.Duplicate(at, uid))
			}
			seen[uid] = true
		}
	}
	check(u.Succeeded, "succeeded")
	check(u.Failed, "failed")
	return errs
}

func jobIs(s *batchv1.JobStatus, t batchv1.JobConditionType) bool {
	for _, c := range s.Conditions {
		if c.Type == t {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// turned says whether one of the conditions came or went.
func (c *jobStatusChange) turned(list ...batchv1.JobConditionType) bool {
	return slices.ContainsFunc(list, func(t batchv1.JobConditionType) bool { return jobIs(c.now, t) != jobIs(c.was, t) })
}

func ended(s *batchv1.JobStatus) bool {
	return jobIs(s, batchv1.JobComplete) || jobIs(s, batchv1.JobFailed)
}

func (c *jobStatusChange) invalid(is bool, child string, value any, what string) {
	if is {
		c.errs = append(c.errs, field.Invalid(c.path.Child(child), value, what))
	}
}

// conditions: a job ends in one way, says beforehand that it will, and stays ended.
func (c *jobStatusChange) conditions() {
	refuse := func(is bool, what string) { c.invalid(is, "conditions", field.OmitValueType{}, what) }
	complete, failed := jobIs(c.now, batchv1.JobComplete), jobIs(c.now, batchv1.JobFailed)
	willFail, willSucceed := jobIs(c.now, batchv1.JobFailureTarget), jobIs(c.now, batchv1.JobSuccessCriteriaMet)
	refuse(c.turned(batchv1.JobComplete, batchv1.JobFailed) && complete && failed, "cannot set Complete=True and Failed=true conditions")
	refuse(c.turned(batchv1.JobComplete, batchv1.JobFailureTarget) && complete && willFail, "cannot set Complete=True and FailureTarget=true conditions")
	refuse(c.turned(batchv1.JobFailed, batchv1.JobFailureTarget) && failed && !willFail, "cannot set Failed=True condition without the FailureTarget=true condition")
	refuse(c.turned(batchv1.JobComplete, batchv1.JobSuccessCriteriaMet) && complete && !willSucceed, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
	refuse(willSucceed && failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions")
	refuse(willSucceed && willFail, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
	refuse(c.job.Spec.SuccessPolicy != nil && complete && !willSucceed, "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")
	for _, t := range []batchv1.JobConditionType{batchv1.JobFailed, batchv1.JobComplete, batchv1.JobFailureTarget} {
		refuse(jobIs(c.was, t) && !jobIs(c.now, t), fmt.Sprintf("cannot disable the terminal %s=True condition", t))
	}
	refuse(jobIs(c.was, batchv1.JobSuccessCriteriaMet) && !willSucceed, "cannot disable the SuccessCriteriaMet=True condition")
	refuse(jobIs(c.was, batchv1.JobComplete) && !jobIs(c.was, batchv1.JobSuccessCriteriaMet) && willSucceed,
		"cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
}

// times: a job starts before it is complete, and nothing of this changes afterwards, but for a job that is suspended and begins anew.
func (c *jobStatusChange) times() {
	now, was, complete := c.now, c.was, jobIs(c.now, batchv1.JobComplete)
	done, begun := c.path.Child("completionTime"), !now.StartTime.Equal(was.StartTime)
	if completed := !now.CompletionTime.Equal(was.CompletionTime); completed || c.turned(batchv1.JobComplete) {
		c.invalid(now.CompletionTime != nil && !complete, "completionTime", now.CompletionTime, "cannot set completionTime when there is no Complete=True condition")
		if now.CompletionTime == nil && complete {
			c.errs = append(c.errs, field.Required(done, "completionTime is required for Complete jobs"))
		}
		c.invalid(completed && now.CompletionTime != nil && was.CompletionTime != nil, "completionTime", now.CompletionTime, "completionTime cannot be mutated")
	}
	if begun || !now.CompletionTime.Equal(was.CompletionTime) {
		c.invalid(now.StartTime != nil && now.CompletionTime != nil && now.CompletionTime.Before(now.StartTime), "completionTime", now.CompletionTime,
			"completionTime cannot be set before startTime")
	}
	if begun && was.StartTime != nil && !valueOf(c.job.Spec.Suspend) {
		c.errs = append(c.errs, field.Required(c.path.Child("startTime"), "startTime cannot be removed for unsuspended job"))
	}
}

// finished: when a job has ended, its pods have.
func (c *jobStatusChange) finished() {
	now, was := c.now, c.was
	if ready := valueOf(now.Ready); ready != valueOf(was.Ready) || now.Active != was.Active {
		c.invalid(ready > now.Active, "ready", ready, "cannot set more ready pods than active")
	}
	if !ended(now) {
		return
	}
	just := !ended(was)
	c.invalid((just || now.Active != was.Active) && now.Active > 0, "active", now.Active, "active>0 is invalid for finished job")
	if now.StartTime == nil && (just || was.StartTime != nil) {
		c.errs = append(c.errs, field.Required(c.path.Child("startTime"), "startTime is required for finished job"))
	}
	n := valueOf(now.Terminating)
	c.invalid((just || n != valueOf(was.Terminating)) && n > 0, "terminating", n, "terminating>0 is invalid for finished job")
	u := now.UncountedTerminatedPods
	c.invalid((just || !equality.Semantic.DeepEqual(u, was.UncountedTerminatedPods)) && u != nil && len(u.Succeeded)+len(u.Failed) > 0,
		"uncountedTerminatedPods", u, "uncountedTerminatedPods needs to be empty for finished job")
}

// counters: pods that have ended stay so. Only an indexed job of which all pods run at once may shrink below what has succeeded.
func (c *jobStatusChange) counters() {
	spec := &c.job.Spec
	elastic := valueOf(spec.CompletionMode) == batchv1.IndexedCompletion && equality.Semantic.DeepEqual(spec.Completions, spec.Parallelism)
	c.invalid(c.now.Failed < c.was.Failed, "failed", c.now.Failed, "cannot decrease the failed counter")
	c.invalid(!elastic && c.now.Succeeded < c.was.Succeeded, "succeeded", c.now.Succeeded, "cannot decrease the succeeded counter")
}

// indexes are those of an indexed job; each succeeds or fails.
func (c *jobStatusChange) indexes() {
	spec, now := &c.job.Spec, c.now
	well, badly := now.CompletedIndexes != c.was.CompletedIndexes, !equality.Semantic.DeepEqual(now.FailedIndexes, c.was.FailedIndexes)
	c.invalid(well && now.CompletedIndexes != "" && valueOf(spec.CompletionMode) != batchv1.IndexedCompletion, "completedIndexes", now.CompletedIndexes,
		"cannot set non-empty completedIndexes when non-indexed completion mode")
	if badly && now.FailedIndexes != nil && spec.BackoffLimitPerIndex == nil {
		c.invalid(true, "failedIndexes", *now.FailedIndexes, "cannot set non-null failedIndexes when backoffLimitPerIndex is null")
	}
	if spec.Completions == nil || !well && !badly {
		return
	}
	completed, err := indexIntervals(now.CompletedIndexes, *spec.Completions)
	if well && err != nil {
		c.invalid(true, "completedIndexes", now.CompletedIndexes, fmt.Sprintf("error parsing completedIndexes: %s", err))
	}
	failed, failedErr := indexIntervals(valueOf(now.FailedIndexes), *spec.Completions)
	if badly && failedErr != nil && spec.BackoffLimitPerIndex != nil {
		c.invalid(true, "failedIndexes", *now.FailedIndexes, fmt.Sprintf("error parsing failedIndexes: %s", failedErr))
	}
	if err == nil && failedErr == nil && overlap(completed, failed) {
		c.invalid(true, "failedIndexes", *now.FailedIndexes, "failedIndexes and completedIndexes overlap")
	}
}

// interval is a row of indexes, first <= last.
type interval struct{ first, last int }

// indexIntervals reads indexes of the form "1,3-5,7", in growing order and below completions.
func indexIntervals(text string, completions int32) (list []interval, err error) {
	if text == "" {
		return nil, nil
	}
	before := -1
	number := func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		switch {
		case err != nil:
			return 0, fmt.Errorf("cannot convert string to integer for index: %q", s)
		case n >= int(completions):
			return 0, fmt.Errorf("too large index: %q", s)
		case n <= before:
			return 0, fmt.Errorf("non-increasing order, previous: %d, current: %d", before, n)
		}
		before = n
		return n, nil
	}
	for _, part := range strings.Split(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if strings.Contains(last, "-") {
			return nil, fmt.Errorf("the fragment %q violates the requirement that an index interval can have at most two parts separated by '-'", part)
		}
		var i interval
		if i.first, err = number(first); err != nil {
			return nil, err
		}
		i.last = i.first
		if isRange {
			if i.last, err = number(last); err != nil {
				return nil, err
			}
		}
		list = append(list, i)
	}
	return list, nil
}

func overlap(a, b []interval) bool {
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].last < b[0].first:
			a = a[1:]
		case b[0].last < a[0].first:
			b = b[1:]
		default:
			return true
		}
	}
	return false
}
