package api

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	_ "time/tzdata" // A machine without a database of time zones knows the same zones as every other.

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateCronJob(c *batchv1.CronJob) field.ErrorList {
	errs := validateCronJobSpec(&c.Spec, nil)
	if len(c.Name) > cronJobNameCharactersMax {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), c.Name,
			fmt.Sprintf("must be no more than %d characters", cronJobNameCharactersMax)))
	}
	return errs
}

// validateCronJobUpdate does not look at the name, which was accepted once.
func validateCronJobUpdate(c, old *batchv1.CronJob) field.ErrorList {
	return validateCronJobSpec(&c.Spec, &old.Spec)
}

func validateCronJobSpec(s, old *batchv1.CronJobSpec) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	errs = append(errs, validateSchedule(s, old, spec.Child("schedule"))...)
	if n := s.StartingDeadlineSeconds; n != nil {
		errs = append(errs, nonnegative(*n, spec.Child("startingDeadlineSeconds"))...)
	}
	if s.TimeZone != nil && (old == nil || old.TimeZone == nil || *old.TimeZone != *s.TimeZone) {
		errs = append(errs, validateTimeZone(*s.TimeZone, spec.Child("timeZone"))...)
	}
	errs = append(errs, requiredInOrder(s.ConcurrencyPolicy, spec.Child("concurrencyPolicy"),
		batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)...)
	errs = append(errs, validateTemplateOfJobs(&s.JobTemplate.Spec, spec.Child("jobTemplate", "spec"))...)
	errs = append(errs, nonnegative(int64(valueOf(s.SuccessfulJobsHistoryLimit)), spec.Child("successfulJobsHistoryLimit"))...)
	return append(errs, nonnegative(int64(valueOf(s.FailedJobsHistoryLimit)), spec.Child("failedJobsHistoryLimit"))...)
}

// validateTemplateOfJobs: each job chooses its own selector.
func validateTemplateOfJobs(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	errs := validateJobSpec(s, path)
	if s.Selector != nil {
		errs = append(errs, field.Invalid(path.Child("selector"), s.Selector, "`selector` will be auto-generated"))
	}
	if isTrue(s.ManualSelector) {
		errs = append(errs, field.NotSupported(path.Child("manualSelector"), *s.ManualSelector, []string{"nil", "false"}))
	}
	return errs
}

// validateSchedule: a time zone has a field of its own. Schedules that already named one may go on doing so.
func validateSchedule(s, old *batchv1.CronJobSpec, path *field.Path) (errs field.ErrorList) {
	if s.Schedule == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	if _, err := ParseSchedule(s.Schedule); err != nil {
		errs = append(errs, field.Invalid(path, s.Schedule, err.Error()))
	}
	if !strings.Contains(s.Schedule, "TZ") {
		return errs
	}
	switch wasZoned := old != nil && strings.Contains(old.Schedule, "TZ"); {
	case !wasZoned:
		errs = append(errs, field.Invalid(path, s.Schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"))
	case s.TimeZone != nil:
		errs = append(errs, field.Invalid(path, s.Schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule"))
	}
	return errs
}

// ParseSchedule reads the schedule of a cron job: five fields, or "@hourly" and its like. The parser would panic on a time zone with
// nothing behind it.
func ParseSchedule(text string) (cron.Schedule, error) {
	zoned := strings.HasPrefix(text, "TZ=") || strings.HasPrefix(text, "CRON_TZ=")
	if zoned && !strings.Contains(text, " ") {
		return nil, fmt.Errorf("expected a schedule after the time zone: %q", text)
	}
	return cron.ParseStandard(text)
}

// timeZonePart is what stands between the slashes of a time zone's name, as in the database: anything else may be a path to somewhere.
var timeZonePart = regexp.MustCompile(`^[A-Za-z0-9._+-]{1,14}$`)

func validateTimeZone(name string, path *field.Path) (errs field.ErrorList) {
	if name == "" {
		return field.ErrorList{field.Invalid(path, name, "must be nil or non-empty string")}
	}
	for part := range strings.SplitSeq(name, "/") {
		if !timeZonePart.MatchString(part) {
			return field.ErrorList{field.Invalid(path, name, "unknown time zone "+name)}
		}
	}
	if strings.EqualFold(name, "Local") {
		errs = append(errs, field.Invalid(path, name, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"))
	}
	if _, err := time.LoadLocation(name); err != nil {
		errs = append(errs, field.Invalid(path, name, err.Error()))
	}
	return errs
}
