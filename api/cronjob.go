package api

import (
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: batchv1.SchemeGroupVersion,
		Name:         "CronJob", Resource: "cronjobs", Singular: "cronjob",
		ShortNames: []string{"cj"}, Categories: []string{"all"},
		New:              func() runtime.Object { return &batchv1.CronJob{} },
		NewList:          func() runtime.Object { return &batchv1.CronJobList{} },
		Default:          with(defaultCronJob),
		PrepareForCreate: with(func(c *batchv1.CronJob) { dropAlphaJob(&c.Spec.JobTemplate.Spec) }),
		PrepareForUpdate: withOld(func(c, _ *batchv1.CronJob) { dropAlphaJob(&c.Spec.JobTemplate.Spec) }),
		Validate:         check(validateCronJob),
		ValidateUpdate:   checkOld(keepAddresses(validateCronJobUpdate)),
		Warnings:         warnings(cronJobWarnings),
		Columns: append([]metav1.TableColumnDefinition{
			nameColumn,
			textColumn("Schedule", "When jobs begin."),
			textColumn("Timezone", "The time zone in which the schedule is read."),
			textColumn("Suspend", "Whether no job begins for now."),
			numberColumn("Active", "How many jobs run."),
			textColumn("Last Schedule", "How long ago the last job began."),
			ageColumn,
		}, templateColumns()...),
		Row: row(func(c *batchv1.CronJob, now time.Time) []any {
			last, zone, job := cellNone, cellNone, &c.Spec.JobTemplate.Spec
			if t := c.Status.LastScheduleTime; t != nil {
				last = age(*t, now)
			}
			if c.Spec.TimeZone != nil {
				zone = *c.Spec.TimeZone
			}
			return append([]any{
				c.Name, c.Spec.Schedule, zone, boolText(c.Spec.Suspend), int64(len(c.Status.Active)), last, age(c.CreationTimestamp, now),
			}, templateCells(&job.Template.Spec, job.Selector)...)
		}),
		HasStatus:     true,
		HasGeneration: true,
	})
}

func boolText(b *bool) string {
	switch {
	case b == nil:
		return cellUnset
	case *b:
		return "True"
	}
	return "False"
}

// defaultCronJob leaves the template of the jobs nearly as it is: a job gets its defaults when it is made.
func defaultCronJob(c *batchv1.CronJob) {
	s := &c.Spec
	fill(&s.ConcurrencyPolicy, batchv1.AllowConcurrent)
	fillPtr(&s.Suspend, false)
	fillPtr(&s.SuccessfulJobsHistoryLimit, 3)
	fillPtr(&s.FailedJobsHistoryLimit, 1)
	if p := s.JobTemplate.Spec.PodFailurePolicy; p != nil {
		defaultPodFailurePolicy(p)
	}
	defaultPodSpec(&s.JobTemplate.Spec.Template.Spec)
}

func cronJobWarnings(c *batchv1.CronJob, isNew bool) []string {
	out := nameWarning(c.Name, "this is used in Pod names and hostnames", isNew)
	out = append(out, jobWarnings(&c.Spec.JobTemplate.Spec, field.NewPath("spec", "jobTemplate", "spec"))...)
	if strings.Contains(c.Spec.Schedule, "TZ") {
		out = append(out, "CRON_TZ or TZ used in spec.schedule is not officially supported, "+
			"see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details")
	}
	return out
}
