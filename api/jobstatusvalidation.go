package api

import (
	"fmt"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateJobStatus checks what a controller writes of a job. What was wrong already may stay, so that a job can be repaired in steps;
// what changes must make sense.
func validateJobStatus(j, old *batchv1.Job) field.ErrorList {
	s, path := &j.Status, field.NewPath("status")
	c := counts{path: path}
	c.add("active", s.Active)
	c.add("succeeded", s.Succeeded)
	c.add("failed", s.Failed)
	c.add("ready", valueOf(s.Ready))
	c.add("terminating", valueOf(s.Terminating))
	errs := append(c.errs, validateUncounted(s.UncountedTerminatedPods, path.Child("uncountedTerminatedPods"))...)
	if equality.Semantic.DeepEqual(*s, old.Status) {
		return errs
	}
	errs = append(errs, validateJobConditions(s, &old.Status, path)...)
	errs = append(errs, validateJobTimes(s, &old.Status, path)...)
	errs = append(errs, validateFinished(s, path)...)
	return append(errs, validateJobIndexes(j, &old.Status, path)...)
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

// validateJobConditions: a job ends once, in one way, and says beforehand that it will.
func validateJobConditions(s, old *batchv1.JobStatus, path *field.Path) (errs field.ErrorList) {
	conditions := path.Child("conditions")
	refuse := func(is bool, what string) {
		if is {
			errs = append(errs, field.Invalid(conditions, field.OmitValueType{}, what))
		}
	}
	complete, failed := jobIs(s, batchv1.JobComplete), jobIs(s, batchv1.JobFailed)
	willFail, willSucceed := jobIs(s, batchv1.JobFailureTarget), jobIs(s, batchv1.JobSuccessCriteriaMet)
	refuse(complete && failed, "cannot set Complete=True and Failed=true conditions")
	refuse(complete && willFail, "cannot set Complete=True and FailureTarget=true conditions")
	refuse(failed && willSucceed, "cannot set Failed=True and SuccessCriteriaMet=true conditions")
	refuse(willFail && willSucceed, "cannot set FailureTarget=true and SuccessCriteriaMet=true conditions")
	refuse(failed && !jobIs(old, batchv1.JobFailed) && !willFail, "cannot set Failed=True condition without the FailureTarget=true condition")
	refuse(complete && !jobIs(old, batchv1.JobComplete) && !willSucceed, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
	for _, t := range []batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed, batchv1.JobFailureTarget, batchv1.JobSuccessCriteriaMet} {
		refuse(jobIs(old, t) && !jobIs(s, t), fmt.Sprintf("cannot disable the terminal %s=True condition", t))
	}
	return errs
}

// validateJobTimes: a job starts before it is complete, and nothing of this changes afterwards.
func validateJobTimes(s, old *batchv1.JobStatus, path *field.Path) (errs field.ErrorList) {
	done, complete := path.Child("completionTime"), jobIs(s, batchv1.JobComplete)
	switch {
	case complete && s.CompletionTime == nil:
		errs = append(errs, field.Required(done, "completionTime is required for Complete jobs"))
	case !complete && s.CompletionTime != nil:
		errs = append(errs, field.Invalid(done, s.CompletionTime, "cannot set completionTime when there is no Complete=True condition"))
	case complete && s.StartTime != nil && s.CompletionTime.Before(s.StartTime):
		errs = append(errs, field.Invalid(done, s.CompletionTime, "completionTime cannot be set before startTime"))
	}
	if old.CompletionTime != nil && s.CompletionTime != nil && !s.CompletionTime.Equal(old.CompletionTime) {
		errs = append(errs, field.Invalid(done, s.CompletionTime, "field is immutable"))
	}
	if old.StartTime != nil && !jobIs(s, batchv1.JobSuspended) && !jobIs(old, batchv1.JobSuspended) {
		switch {
		case s.StartTime == nil:
			errs = append(errs, field.Required(path.Child("startTime"), "startTime cannot be removed for unsuspended job"))
		case !s.StartTime.Equal(old.StartTime):
			errs = append(errs, field.Invalid(path.Child("startTime"), s.StartTime, "startTime cannot be modified for unsuspended job"))
		}
	}
	return errs
}

// validateFinished: when a job has ended, its pods have.
func validateFinished(s *batchv1.JobStatus, path *field.Path) (errs field.ErrorList) {
	if ready := valueOf(s.Ready); ready > s.Active {
		errs = append(errs, field.Invalid(path.Child("ready"), ready, "cannot set more ready pods than active"))
	}
	if !jobIs(s, batchv1.JobComplete) && !jobIs(s, batchv1.JobFailed) {
		return errs
	}
	if s.StartTime == nil {
		errs = append(errs, field.Required(path.Child("startTime"), "startTime is required for finished job"))
	}
	if s.Active > 0 {
		errs = append(errs, field.Invalid(path.Child("active"), s.Active, "active>0 is invalid for finished job"))
	}
	if n := valueOf(s.Terminating); n > 0 {
		errs = append(errs, field.Invalid(path.Child("terminating"), n, "terminating>0 is invalid for finished job"))
	}
	if u := s.UncountedTerminatedPods; u != nil && len(u.Succeeded)+len(u.Failed) > 0 {
		errs = append(errs, field.Invalid(path.Child("uncountedTerminatedPods"), u, "uncountedTerminatedPods needs to be empty for finished job"))
	}
	return errs
}

// validateJobIndexes: indexes are those of an indexed job; each succeeds or fails.
func validateJobIndexes(j *batchv1.Job, old *batchv1.JobStatus, path *field.Path) (errs field.ErrorList) {
	s := &j.Status
	completed, failed := path.Child("completedIndexes"), path.Child("failedIndexes")
	if s.CompletedIndexes != "" && valueOf(j.Spec.CompletionMode) != batchv1.IndexedCompletion {
		errs = append(errs, field.Invalid(completed, s.CompletedIndexes, "cannot set non-empty completedIndexes when non-indexed completion mode"))
	}
	if s.FailedIndexes != nil && j.Spec.BackoffLimitPerIndex == nil {
		errs = append(errs, field.Invalid(failed, *s.FailedIndexes, "cannot set non-null failedIndexes when backoffLimitPerIndex is null"))
	}
	if j.Spec.Completions == nil || s.CompletedIndexes == old.CompletedIndexes && valueOf(s.FailedIndexes) == valueOf(old.FailedIndexes) {
		return errs
	}
	well, err := indexIntervals(s.CompletedIndexes, *j.Spec.Completions)
	if err != nil {
		errs = append(errs, field.Invalid(completed, s.CompletedIndexes, fmt.Sprintf("error parsing completedIndexes: %s", err)))
	}
	badly, err := indexIntervals(valueOf(s.FailedIndexes), *j.Spec.Completions)
	if err != nil {
		errs = append(errs, field.Invalid(failed, s.FailedIndexes, fmt.Sprintf("error parsing failedIndexes: %s", err)))
	}
	if overlap(well, badly) {
		errs = append(errs, field.Invalid(failed, s.FailedIndexes, "failedIndexes and completedIndexes overlap"))
	}
	return errs
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
