package reconcile

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// ruleFor is what the job's rules say of a failed pod: Count if none matches. The message is for a rule that fails the job.
func (r *jobRun) ruleFor(p *pod) (action batchv1.PodFailurePolicyAction, message string) {
	policy := r.j.Spec.PodFailurePolicy
	if policy == nil {
		return batchv1.PodFailurePolicyActionCount, ""
	}
	s := p.rec.DecodeStatus()
	for i := range policy.Rules {
		rule := &policy.Rules[i]
		if rule.OnExitCodes != nil {
			if c := exitedSo(&s, rule.OnExitCodes); c != nil {
				return rule.Action, fmt.Sprintf("Container %s for pod %s/%s failed with exit code %d matching %s rule at index %d",
					c.Name, p.ns(), p.name(), c.State.Terminated.ExitCode, rule.Action, i)
			}
			continue
		}
		if t := hasPattern(&s, rule.OnPodConditions); t != "" {
			return rule.Action, fmt.Sprintf("Pod %s/%s has condition %s matching %s rule at index %d", p.ns(), p.name(), t, rule.Action, i)
		}
	}
	return batchv1.PodFailurePolicyActionCount, ""
}

// exitedSo is the first container that failed in a way that the rule names; nil if none did.
func exitedSo(s *corev1.PodStatus, on *batchv1.PodFailurePolicyOnExitCodesRequirement) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{s.ContainerStatuses, s.InitContainerStatuses} {
		for i := range list {
			c := &list[i]
			if c.State.Terminated == nil || c.State.Terminated.ExitCode == 0 || on.ContainerName != nil && *on.ContainerName != c.Name {
				continue
			}
			if slices.Contains(on.Values, c.State.Terminated.ExitCode) == (on.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn) {
				return c
			}
		}
	}
	return nil
}

// hasPattern is the first of the pod's conditions that the rule names; "" if none is.
func hasPattern(s *corev1.PodStatus, patterns []batchv1.PodFailurePolicyOnPodConditionsPattern) corev1.PodConditionType {
	for i := range s.Conditions {
		c := &s.Conditions[i]
		if slices.Contains(patterns, batchv1.PodFailurePolicyOnPodConditionsPattern{Type: c.Type, Status: c.Status}) {
			return c.Type
		}
	}
	return ""
}

// failedByRule is the message of the first failed pod that fails the whole job; "" if there is none.
func (r *jobRun) failedByRule() string {
	if r.j.Spec.PodFailurePolicy == nil {
		return ""
	}
	for _, p := range r.ended {
		if !r.hasFailed(p) {
			continue
		}
		if action, message := r.ruleFor(p); action == batchv1.PodFailurePolicyActionFailJob {
			return message
		}
	}
	return ""
}

// succeededByRule says whether the indexes that have succeeded are enough, and by which rule.
func (r *jobRun) succeededByRule() (rule int, enough bool) {
	if r.j.Spec.SuccessPolicy == nil || r.done.total() == 0 {
		return 0, false
	}
	for i, rule := range r.j.Spec.SuccessPolicy.Rules {
		done, want := r.done, 0
		if rule.SucceededIndexes != nil {
			asked := parseIndexes(*rule.SucceededIndexes, int(deref(r.j.Spec.Completions)))
			done, want = asked.without(asked.without(r.done)), asked.total()
		}
		if rule.SucceededCount != nil {
			want = int(*rule.SucceededCount)
		}
		if done.total() >= want {
			return i, true
		}
	}
	return 0, false
}
