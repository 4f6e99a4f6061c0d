package api

import (
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validatePodFailurePolicy(s *batchv1.JobSpec, path *field.Path) (errs field.ErrorList) {
	rules := path.Child("rules")
	if n := len(s.PodFailurePolicy.Rules); n > jobPolicyRulesMax {
		errs = append(errs, field.TooMany(rules, n, jobPolicyRulesMax))
	}
	for i := range s.PodFailurePolicy.Rules {
		errs = append(errs, validatePodFailureRule(s, &s.PodFailurePolicy.Rules[i], rules.Index(i))...)
	}
	return errs
}

func validatePodFailureRule(s *batchv1.JobSpec, r *batchv1.PodFailurePolicyRule, at *field.Path) field.ErrorList {
	errs := requiredFrom(r.Action, at.Child("action"), batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailIndex,
		batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore)
	if r.Action == batchv1.PodFailurePolicyActionFailIndex && s.BackoffLimitPerIndex == nil {
		errs = append(errs, field.Invalid(at.Child("action"), r.Action, "requires the backoffLimitPerIndex to be set"))
	}
	if r.OnExitCodes != nil {
		errs = append(errs, validateOnExitCodes(r.OnExitCodes, &s.Template.Spec, at.Child("onExitCodes"))...)
	}
	errs = append(errs, validateOnPodConditions(r.OnPodConditions, at.Child("onPodConditions"))...)
	switch {
	case r.OnExitCodes != nil && len(r.OnPodConditions) > 0:
		errs = append(errs, field.Invalid(at, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported"))
	case r.OnExitCodes == nil && len(r.OnPodConditions) == 0:
		errs = append(errs, field.Invalid(at, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required"))
	}
	return errs
}

// requiredFrom is requiredOneOf for those fields that name the choices also when nothing was chosen.
func requiredFrom[T ~string](v T, path *field.Path, allowed ...T) field.ErrorList {
	if v == "" {
		return field.ErrorList{field.Required(path, fmt.Sprintf("valid values: %q", allowed))}
	}
	return oneOf(v, path, allowed...)
}

func validateOnPodConditions(list []batchv1.PodFailurePolicyOnPodConditionsPattern, path *field.Path) (errs field.ErrorList) {
	if n := len(list); n > jobPolicyRulesMax {
		errs = append(errs, field.TooMany(path, n, jobPolicyRulesMax))
	}
	for i, p := range list {
		at := path.Index(i)
		errs = append(errs, faults(at.Child("type"), string(p.Type), utilvalidation.IsQualifiedName(string(p.Type)))...)
		errs = append(errs, requiredFrom(p.Status, at.Child("status"), corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown)...)
	}
	return errs
}

func validateOnExitCodes(r *batchv1.PodFailurePolicyOnExitCodesRequirement, pod *corev1.PodSpec, path *field.Path) field.ErrorList {
	errs := requiredFrom(r.Operator, path.Child("operator"), batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn)
	if n := r.ContainerName; n != nil && !hasContainer(pod, *n) {
		errs = append(errs, field.Invalid(path.Child("containerName"), *n, "must be one of the container or initContainer names in the pod template"))
	}
	values := path.Child("values")
	switch n := len(r.Values); {
	case n == 0:
		errs = append(errs, field.Invalid(values, r.Values, "at least one value is required"))
	case n > jobExitCodesMax:
		errs = append(errs, field.TooMany(values, n, jobExitCodesMax))
	}
	seen := map[int32]bool{}
	for i, v := range r.Values {
		if v == 0 && r.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn {
			errs = append(errs, field.Invalid(values.Index(i), v, "must not be 0 for the In operator"))
		}
		if seen[v] {
			errs = append(errs, field.Duplicate(values.Index(i), v))
		}
		seen[v] = true
	}
	if !slices.IsSorted(r.Values) {
		errs = append(errs, field.Invalid(values, r.Values, "must be ordered"))
	}
	return errs
}

func hasContainer(s *corev1.PodSpec, name string) bool {
	is := func(c corev1.Container) bool { return c.Name == name }
	return slices.ContainsFunc(s.Containers, is) || slices.ContainsFunc(s.InitContainers, is)
}

func validateSuccessPolicy(p *batchv1.SuccessPolicy, completions int32, rules *field.Path) (errs field.ErrorList) {
	if len(p.Rules) == 0 {
		errs = append(errs, field.Required(rules, "at least one rules must be specified when the successPolicy is specified"))
	}
	if n := len(p.Rules); n > jobPolicyRulesMax {
		errs = append(errs, field.TooMany(rules, n, jobPolicyRulesMax))
	}
	for i := range p.Rules {
		errs = append(errs, validateSuccessRule(&p.Rules[i], completions, rules.Index(i))...)
	}
	return errs
}

func validateSuccessRule(r *batchv1.SuccessPolicyRule, completions int32, at *field.Path) (errs field.ErrorList) {
	if r.SucceededCount == nil && r.SucceededIndexes == nil {
		errs = append(errs, field.Required(at, "at least one of succeededCount or succeededIndexes must be specified"))
	}
	named := 0
	if text := r.SucceededIndexes; text != nil {
		path := at.Child("succeededIndexes")
		if len(*text) > jobSucceededIndexesBytesMax {
			errs = append(errs, field.TooLong(path, *text, jobSucceededIndexesBytesMax))
		}
		var err error
		if named, err = countIndexes(*text, int(completions)); err != nil {
			errs = append(errs, field.Invalid(path, *text, fmt.Sprintf("error parsing succeededIndexes: %v", err)))
		}
	}
	if n := r.SucceededCount; n != nil {
		path := at.Child("succeededCount")
		errs = append(errs, nonnegative(int64(*n), path)...)
		if *n > completions {
			errs = append(errs, field.Invalid(path, *n, fmt.Sprintf("must be less than or equal to %d (the number of specified completions)", completions)))
		}
		if r.SucceededIndexes != nil && int(*n) > named {
			errs = append(errs, field.Invalid(path, *n,
				fmt.Sprintf("must be less than or equal to %d (the number of indexes in the specified succeededIndexes field)", named)))
		}
	}
	return errs
}

// countIndexes reads indexes as "1,3-5,7" and counts them. They rise, and are less than completions.
func countIndexes(text string, completions int) (n int, err error) {
	if text == "" {
		return 0, nil
	}
	last := -1
	for part := range strings.SplitSeq(text, ",") {
		limits := strings.Split(part, "-")
		if len(limits) > 2 {
			return 0, fmt.Errorf("the fragment %q violates the requirement that an index interval can have at most two parts separated by '-'", part)
		}
		first := last
		for i, limit := range limits {
			index, err := parseInt(limit)
			switch {
			case err != nil:
				return 0, fmt.Errorf("cannot convert string to integer for index: %q", limit)
			case index >= int64(completions):
				return 0, fmt.Errorf("too large index: %q", limit)
			case last >= int(index):
				return 0, fmt.Errorf("non-increasing order, previous: %d, current: %d", last, index)
			}
			last = int(index)
			if i == 0 {
				first = last
			}
		}
		n += last - first + 1
	}
	return n, nil
}
