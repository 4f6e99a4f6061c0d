package api

import (
	"fmt"
	"math"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: batchv1.SchemeGroupVersion,
		Name:         "Job", Resource: "jobs", Singular: "job", Categories: []string{"all"},
		New:              func() runtime.Object { return &batchv1.Job{} },
		NewList:          func() runtime.Object { return &batchv1.JobList{} },
		Default:          with(defaultJob),
		PrepareForCreate: with(prepareJob),
		PrepareForUpdate: withOld(func(j, old *batchv1.Job) {
			dropAlphaJob(&j.Spec)
			dropDisabledPodFields(&j.Spec.Template.Spec, &old.Spec.Template.Spec)
		}),
		Validate:             check(validateJob),
		ValidateUpdate:       checkOld(keepAddresses(validateJobUpdate)),
		ValidateStatusUpdate: checkOld(validateJobStatus),
		Warnings: warnings(func(j *batchv1.Job, isNew bool) []string {
			return append(nameWarning(j.Name, "this is used in Pod names and hostnames", isNew), jobWarnings(&j.Spec, field.NewPath("spec"))...)
		}),
		Columns: append([]metav1.TableColumnDefinition{
			nameColumn,
			textColumn("Status", "Whether the job runs, is done, or why not."),
			textColumn("Completions", "How many pods ended well, of how many wanted."),
			textColumn("Duration", "How long the job took, or has taken so far."),
			ageColumn,
		}, templateColumns()...),
		Row: row(func(j *batchv1.Job, now time.Time) []any {
			return append([]any{
				j.Name, jobStatusText(j), jobCompletions(j), jobDuration(j, now), age(j.CreationTimestamp, now),
			}, templateCells(&j.Spec.Template.Spec, j.Spec.Selector)...)
		}),
		FieldLabels: []string{"status.successful"},
		Fields: selectable(func(j *batchv1.Job) fields.Set {
			return fields.Set{"status.successful": strconv.Itoa(int(j.Status.Succeeded))}
		}),
		HasStatus:       true,
		HasGeneration:   true,
		OrphanByDefault: true,
	})
}

func defaultJob(j *batchv1.Job) {
	s := &j.Spec
	if s.Completions == nil && s.Parallelism == nil {
		fillPtr(&s.Completions, 1)
	}
	fillPtr(&s.Parallelism, 1)
	if s.BackoffLimitPerIndex != nil {
		fillPtr(&s.BackoffLimit, math.MaxInt32)
	}
	fillPtr(&s.BackoffLimit, 6)
	if len(j.Labels) == 0 && len(s.Template.Labels) > 0 {
		j.Labels = make(map[string]string, len(s.Template.Labels))
		for k, v := range s.Template.Labels {
			j.Labels[k] = v
		}
	}
	fillPtr(&s.CompletionMode, batchv1.NonIndexedCompletion)
	fillPtr(&s.Suspend, false)
	fillPtr(&s.ManualSelector, false)
	if s.PodFailurePolicy != nil {
		defaultPodFailurePolicy(s.PodFailurePolicy)
		fillPtr(&s.PodReplacementPolicy, batchv1.Failed)
	}
	fillPtr(&s.PodReplacementPolicy, batchv1.TerminatingOrFailed)
	defaultPodSpec(&s.Template.Spec)
}

func defaultPodFailurePolicy(p *batchv1.PodFailurePolicy) {
	for i := range p.Rules {
		for j := range p.Rules[i].OnPodConditions {
			fill(&p.Rules[i].OnPodConditions[j].Status, corev1.ConditionTrue)
		}
	}
}

// dropAlphaJob clears the fields that a cluster without alpha features does not keep.
func dropAlphaJob(s *batchv1.JobSpec) { s.Scheduling = nil }

// prepareJob gives the job a selector of its own, by its UID, unless the user chose one.
func prepareJob(j *batchv1.Job) {
	j.Status = batchv1.JobStatus{}
	dropAlphaJob(&j.Spec)
	dropDisabledPodFields(&j.Spec.Template.Spec, nil)
	if isTrue(j.Spec.ManualSelector) || j.UID == "" {
		return
	}
	labels := &j.Spec.Template.Labels
	if *labels == nil {
		*labels = map[string]string{}
	}
	uid := string(j.UID)
	for k, v := range map[string]string{
		batchv1.ControllerUidLabel: uid, batchv1.JobNameLabel: j.Name, "controller-uid": uid, "job-name": j.Name,
	} {
		if (*labels)[k] == "" {
			(*labels)[k] = v
		}
	}
	fillPtr(&j.Spec.Selector, metav1.LabelSelector{})
	if j.Spec.Selector.MatchLabels == nil {
		j.Spec.Selector.MatchLabels = map[string]string{}
	}
	if _, ok := j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel]; !ok {
		j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel] = uid
	}
}

// jobWarnings: too many failed indexes may not fit into the status of the job.
func jobWarnings(s *batchv1.JobSpec, path *field.Path) (out []string) {
	if valueOf(s.CompletionMode) == batchv1.IndexedCompletion &&
		valueOf(s.Completions) > jobCompletionsMany && valueOf(s.Parallelism) > jobParallelismOfManyMax {
		out = append(out, path.String()+": In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "+
			"Kubernetes might not be able to track completedIndexes when a big number of indexes fail")
	}
	return append(out, podWarnings(&s.Template.Spec, path.Child("template", "spec"))...)
}

// jobStatusText names the condition that says most, and Running without one.
func jobStatusText(j *batchv1.Job) string {
	has := func(t batchv1.JobConditionType) bool {
		for _, c := range j.Status.Conditions {
			if c.Type == t && c.Status == corev1.ConditionTrue {
				return true
			}
		}
		return false
	}
	switch {
	case has(batchv1.JobComplete):
		return "Complete"
	case has(batchv1.JobFailed):
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case has(batchv1.JobSuspended):
		return "Suspended"
	case has(batchv1.JobFailureTarget):
		return "FailureTarget"
	case has(batchv1.JobSuccessCriteriaMet):
		return "SuccessCriteriaMet"
	}
	return "Running"
}

func jobCompletions(j *batchv1.Job) string {
	if n := j.Spec.Completions; n != nil {
		return fmt.Sprintf("%d/%d", j.Status.Succeeded, *n)
	}
	if n := valueOf(j.Spec.Parallelism); n > 1 {
		return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, n)
	}
	return fmt.Sprintf("%d/1", j.Status.Succeeded)
}

func jobDuration(j *batchv1.Job, now time.Time) string {
	switch {
	case j.Status.StartTime == nil:
		return ""
	case j.Status.CompletionTime == nil:
		return duration.HumanDuration(now.Sub(j.Status.StartTime.Time))
	}
	return duration.HumanDuration(j.Status.CompletionTime.Sub(j.Status.StartTime.Time))
}
