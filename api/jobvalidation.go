package api

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateJob(j *batchv1.Job) (errs field.ErrorList) {
	s, spec := &j.Spec, field.NewPath("spec")
	if s.CompletionMode != nil && *s.CompletionMode == batchv1.IndexedCompletion && valueOf(s.Completions) > 0 {
		// The longest pod name ends in the last index; it is a host name, so it is a label.
		longest := fmt.Sprintf("%s-%d", j.Name, *s.Completions-1)
		for _, msg := range utilvalidation.IsDNS1123Label(longest) {
			errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), j.Name,
				fmt.Sprintf("will not able to create pod with invalid DNS label: %s: %s", longest, msg)))
		}
	}
	errs = append(errs, validateJobSpec(s, spec)...)
	if s.Selector == nil {
		return append(errs, field.Required(spec.Child("selector"), ""))
	}
	errs = append(errs, metavalidation.ValidateLabelSelector(s.Selector, metavalidation.LabelSelectorValidationOptions{}, spec.Child("selector"))...)
	return append(errs, templateMatches(s.Selector, &s.Template, spec)...)
}

// validateJobSpec checks what jobs and the templates of jobs have in common: all but the selector.
func validateJobSpec(s *batchv1.JobSpec, spec *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateJobCounts(s, spec)...)
	errs = append(errs, validateJobModes(s, spec)...)
	errs = append(errs, validateJobTemplate(s, spec.Child("template"))...)
	if s.PodFailurePolicy != nil {
		errs = append(errs, validatePodFailurePolicy(s, spec.Child("podFailurePolicy"))...)
	}
	return errs
}

// templateMatches: a stamp whose pods it does not select would stamp for ever.
func templateMatches(selector *metav1.LabelSelector, t *corev1.PodTemplateSpec, spec *field.Path) field.ErrorList {
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil || s.Matches(labels.Set(t.Labels)) {
		return nil // a selector of bad form is reported where it stands
	}
	return field.ErrorList{unmatchedTemplate(t, spec)}
}

func unmatchedTemplate(t *corev1.PodTemplateSpec, spec *field.Path) *field.Error {
	return field.Invalid(spec.Child("template", "metadata", "labels"), t.Labels, "`selector` does not match template `labels`")
}

func validateJobCounts(s *batchv1.JobSpec, spec *field.Path) (errs field.ErrorList) {
	count := func(name string, p *int32) {
		if p != nil {
			errs = append(errs, nonnegative(int64(*p), spec.Child(name))...)
		}
	}
	count("parallelism", s.Parallelism)
	count("completions", s.Completions)
	if s.ActiveDeadlineSeconds != nil {
		errs = append(errs, nonnegative(*s.ActiveDeadlineSeconds, spec.Child("activeDeadlineSeconds"))...)
	}
	count("backoffLimit", s.BackoffLimit)
	count("ttlSecondsAfterFinished", s.TTLSecondsAfterFinished)
	count("backoffLimitPerIndex", s.BackoffLimitPerIndex)
	count("maxFailedIndexes", s.MaxFailedIndexes)
	return errs
}

func validateJobModes(s *batchv1.JobSpec, spec *field.Path) (errs field.ErrorList) {
	indexed := false
	if m := s.CompletionMode; m != nil {
		errs = append(errs, oneOf(*m, spec.Child("completionMode"), batchv1.NonIndexedCompletion, batchv1.IndexedCompletion)...)
		indexed = *m == batchv1.IndexedCompletion
	}
	if indexed {
		errs = append(errs, validateIndexed(s, spec)...)
	} else {
		errs = append(errs, validateNotIndexed(s, spec)...)
	}
	if s.MaxFailedIndexes != nil && s.BackoffLimitPerIndex == nil {
		errs = append(errs, field.Required(spec.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"))
	}
	if p := s.PodReplacementPolicy; p != nil {
		path := spec.Child("podReplacementPolicy")
		if s.PodFailurePolicy != nil {
			errs = append(errs, oneOf(*p, path, batchv1.Failed)...)
		} else {
			errs = append(errs, oneOf(*p, path, batchv1.Failed, batchv1.TerminatingOrFailed)...)
		}
	}
	if m := s.ManagedBy; m != nil {
		errs = append(errs, utilvalidation.IsDomainPrefixedPath(spec.Child("managedBy"), *m)...)
		if len(*m) > managedByCharactersMax {
			errs = append(errs, field.TooLongMaxLength(spec.Child("managedBy"), *m, managedByCharactersMax))
		}
	}
	return errs
}

// validateIndexed: every index is written into the status of the job, so there may not be too many of them.
func validateIndexed(s *batchv1.JobSpec, spec *field.Path) (errs field.ErrorList) {
	if s.Completions == nil {
		return field.ErrorList{field.Required(spec.Child("completions"), "when completion mode is Indexed")}
	}
	most := func(n *int32, name string, limit int, because string) {
		if n != nil && int(*n) > limit {
			errs = append(errs, field.Invalid(spec.Child(name), *n, fmt.Sprintf("must be less than or equal to %d%s", limit, because)))
		}
	}
	most(s.Parallelism, "parallelism", jobParallelismIndexedMax, " when completion mode is Indexed")
	if n := s.MaxFailedIndexes; n != nil && *n > *s.Completions {
		errs = append(errs, field.Invalid(spec.Child("maxFailedIndexes"), *n, "must be less than or equal to completions"))
	}
	most(s.MaxFailedIndexes, "maxFailedIndexes", jobFailedIndexesMax, "")
	if *s.Completions > jobCompletionsMany && s.BackoffLimitPerIndex != nil {
		if s.MaxFailedIndexes == nil {
			errs = append(errs, field.Required(spec.Child("maxFailedIndexes"),
				fmt.Sprintf("must be specified when completions is above %d", jobCompletionsMany)))
		}
		because := fmt.Sprintf(" when completions are above %d and used with backoff limit per index", jobCompletionsMany)
		most(s.Parallelism, "parallelism", jobParallelismOfManyMax, because)
		most(s.MaxFailedIndexes, "maxFailedIndexes", jobFailedIndexesOfManyMax, because)
	}
	if s.SuccessPolicy != nil {
		errs = append(errs, validateSuccessPolicy(s.SuccessPolicy, *s.Completions, spec.Child("successPolicy", "rules"))...)
	}
	return errs
}

func validateNotIndexed(s *batchv1.JobSpec, spec *field.Path) (errs field.ErrorList) {
	if n := s.BackoffLimitPerIndex; n != nil {
		errs = append(errs, field.Invalid(spec.Child("backoffLimitPerIndex"), *n, "requires indexed completion mode"))
	}
	if n := s.MaxFailedIndexes; n != nil {
		errs = append(errs, field.Invalid(spec.Child("maxFailedIndexes"), *n, "requires indexed completion mode"))
	}
	if s.SuccessPolicy != nil {
		errs = append(errs, field.Invalid(spec.Child("successPolicy"), *s.SuccessPolicy, "requires indexed completion mode"))
	}
	return errs
}

func validateJobTemplate(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	errs, policy := validateTemplate(&s.Template, path), path.Child("spec", "restartPolicy")
	switch p := s.Template.Spec.RestartPolicy; p {
	case corev1.RestartPolicyNever:
	case corev1.RestartPolicyOnFailure:
		if s.PodFailurePolicy != nil {
			errs = append(errs, field.Invalid(policy, p, fmt.Sprintf("only %q is supported when podFailurePolicy is specified", corev1.RestartPolicyNever)))
		}
	case corev1.RestartPolicyAlways, "":
		errs = append(errs, field.Required(policy, fmt.Sprintf("valid values: %q, %q", corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)))
	default:
		errs = append(errs, oneOf(p, policy, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)...)
	}
	return errs
}

func validateJobUpdate(j, old *batchv1.Job) field.ErrorList {
	errs := validateJob(j)
	spec := field.NewPath("spec")
	errs = append(errs, validateCompletionsUpdate(&j.Spec, &old.Spec, spec)...)
	errs = append(errs, validation.ValidateImmutableField(j.Spec.Selector, old.Spec.Selector, spec.Child("selector"))...)
	errs = append(errs, validateJobTemplateUpdate(j, old, spec.Child("template"))...)
	errs = append(errs, validation.ValidateImmutableField(j.Spec.CompletionMode, old.Spec.CompletionMode, spec.Child("completionMode"))...)
	errs = append(errs, validation.ValidateImmutableField(j.Spec.PodFailurePolicy, old.Spec.PodFailurePolicy, spec.Child("podFailurePolicy"))...)
	errs = append(errs, validation.ValidateImmutableField(j.Spec.BackoffLimitPerIndex, old.Spec.BackoffLimitPerIndex, spec.Child("backoffLimitPerIndex"))...)
	errs = append(errs, validation.ValidateImmutableField(j.Spec.ManagedBy, old.Spec.ManagedBy, spec.Child("managedBy"))...)
	return append(errs, validation.ValidateImmutableField(j.Spec.SuccessPolicy, old.Spec.SuccessPolicy, spec.Child("successPolicy"))...)
}

// validateCompletionsUpdate: an indexed job may grow and shrink if both numbers move as one.
func validateCompletionsUpdate(s, old *batchv1.JobSpec, spec *field.Path) field.ErrorList {
	path := spec.Child("completions")
	if valueOf(s.CompletionMode) != batchv1.IndexedCompletion {
		return validation.ValidateImmutableField(s.Completions, old.Completions, path)
	}
	if s.Completions == nil || valueOf(s.Completions) == valueOf(old.Completions) || *s.Completions == valueOf(s.Parallelism) {
		return nil // that there is none is reported elsewhere
	}
	return field.ErrorList{field.Invalid(path, s.Completions, "can only be modified in tandem with "+spec.Child("parallelism").String())}
}

// validateJobTemplateUpdate: while a job is suspended and none of its pods runs, where they may run and what they ask for
// can still be said.
func validateJobTemplateUpdate(j, old *batchv1.Job, path *field.Path) field.ErrorList {
	template := old.Spec.Template.DeepCopy()
	if isTrue(old.Spec.Suspend) && (old.Status.StartTime == nil || jobIs(&old.Status, batchv1.JobSuspended) && old.Status.Active == 0) {
		allowSuspended(template, &j.Spec.Template)
	}
	return validation.ValidateImmutableField(j.Spec.Template, *template, path)
}

// allowSuspended carries over to the old template what a suspended job can change.
func allowSuspended(to, from *corev1.PodTemplateSpec) {
	to.Labels, to.Annotations = from.Labels, from.Annotations
	to.Spec.NodeSelector, to.Spec.Tolerations = from.Spec.NodeSelector, from.Spec.Tolerations
	to.Spec.SchedulingGates = from.Spec.SchedulingGates
	switch is := nodeAffinity(&from.Spec); {
	case to.Spec.Affinity != nil:
		to.Spec.Affinity.NodeAffinity = is
		if from.Spec.Affinity == nil && *to.Spec.Affinity == (corev1.Affinity{}) {
			to.Spec.Affinity = nil
		}
	case from.Spec.Affinity != nil:
		to.Spec.Affinity = &corev1.Affinity{NodeAffinity: is}
	}
	for _, lists := range [][2][]corev1.Container{{to.Spec.Containers, from.Spec.Containers}, {to.Spec.InitContainers, from.Spec.InitContainers}} {
		if sameNames(lists[0], lists[1]) {
			for i := range lists[0] {
				lists[0][i].Resources = lists[1][i].Resources
			}
		}
	}
}
