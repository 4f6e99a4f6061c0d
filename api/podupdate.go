package api

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// updatable says what of a pod's spec can change once it exists.
var updatable = strings.Join([]string{
	"`spec.containers[*].image`",
	"`spec.initContainers[*].image`",
	"`spec.activeDeadlineSeconds`",
	"`spec.tolerations` (only additions to existing tolerations)",
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
}, ",")

// validatePodUpdate lets a few fields change. It carries what may change over to a copy of the old
// spec; whatever still differs from the new one may not.
func validatePodUpdate(p, old *corev1.Pod) field.ErrorList {
	spec := field.NewPath("spec")
	errs := validatePodBody(p)
	errs = append(errs, validatePodAnnotationsUpdate(p, old)...)
	if len(p.Spec.Containers) != len(old.Spec.Containers) {
		return append(errs, field.Forbidden(spec.Child("containers"), "pod updates may not add or remove containers"))
	}
	if len(p.Spec.InitContainers) != len(old.Spec.InitContainers) {
		return append(errs, field.Forbidden(spec.Child("initContainers"), "pod updates may not add or remove containers"))
	}
	errs = append(errs, validateDeadlineUpdate(p.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds, spec.Child("activeDeadlineSeconds"))...)
	errs = append(errs, onlyAddedTolerations(p.Spec.Tolerations, old.Spec.Tolerations, spec.Child("tolerations"))...)
	errs = append(errs, onlyRemovedGates(p.Spec.SchedulingGates, old.Spec.SchedulingGates, spec.Child("schedulingGates"))...)
	if equality.Semantic.DeepEqual(p.Spec, old.Spec) {
		return errs // most updates are of the metadata, and save the copy
	}
	allowed := old.Spec.DeepCopy()
	for i := range allowed.Containers {
		allowed.Containers[i].Image = p.Spec.Containers[i].Image
	}
	for i := range allowed.InitContainers {
		allowed.InitContainers[i].Image = p.Spec.InitContainers[i].Image
	}
	allowed.ActiveDeadlineSeconds = p.Spec.ActiveDeadlineSeconds
	allowed.Tolerations = p.Spec.Tolerations
	allowed.SchedulingGates = p.Spec.SchedulingGates
	if valueOf(old.Spec.TerminationGracePeriodSeconds) < 0 && valueOf(p.Spec.TerminationGracePeriodSeconds) == 1 {
		allowed.TerminationGracePeriodSeconds = p.Spec.TerminationGracePeriodSeconds
	}
	if len(old.Spec.SchedulingGates) > 0 {
		errs = append(errs, allowGated(allowed, &p.Spec, spec)...)
	}
	if !equality.Semantic.DeepEqual(*allowed, p.Spec) {
		errs = append(errs, field.Forbidden(spec, fmt.Sprintf("pod updates may not change fields other than %s\n%v", updatable, diff.Diff(p.Spec, *allowed))))
	}
	return errs
}

// validateDeadlineUpdate: a deadline can be set and come nearer.
func validateDeadlineUpdate(now, before *int64, path *field.Path) field.ErrorList {
	switch {
	case before == nil:
		return nil
	case now == nil:
		return field.ErrorList{field.Invalid(path, now, "must not update from a positive integer to nil value")}
	case *now > *before:
		return field.ErrorList{field.Invalid(path, *now, "must be less than or equal to previous value")}
	}
	return nil
}

// onlyAddedTolerations: how long a toleration holds may change; what it tolerates may not.
func onlyAddedTolerations(now, before []corev1.Toleration, path *field.Path) field.ErrorList {
	for _, b := range before {
		b.TolerationSeconds = nil
		if !slices.ContainsFunc(now, func(n corev1.Toleration) bool {
			n.TolerationSeconds = nil
			return n == b
		}) {
			return field.ErrorList{field.Forbidden(path, "existing toleration can not be modified except its tolerationSeconds")}
		}
	}
	return nil
}

func onlyRemovedGates(now, before []corev1.PodSchedulingGate, path *field.Path) (errs field.ErrorList) {
	for i, g := range now {
		if !slices.Contains(before, g) {
			errs = append(errs, field.Forbidden(path.Index(i), fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", g.Name)))
		}
	}
	return errs
}

// allowGated: while a pod waits at a gate, on which nodes it may run can be narrowed, and which of them it prefers can change. What it
// says of other pods cannot: the keys of its labels were merged into those selectors.
func allowGated(allowed, now *corev1.PodSpec, spec *field.Path) (errs field.ErrorList) {
	for k, v := range allowed.NodeSelector {
		if is, ok := now.NodeSelector[k]; !ok || is != v {
			errs = append(errs, field.Invalid(spec.Child("nodeSelector"), now.NodeSelector, "only additions to spec.nodeSelector are allowed (no mutations or deletions)"))
			break
		}
	}
	allowed.NodeSelector = now.NodeSelector
	was, is := nodeAffinity(allowed), nodeAffinity(now)
	if was != nil {
		errs = append(errs, onlyNarrowed(is, was, spec.Child("affinity", "nodeAffinity", ruleRequired, "nodeSelectorTerms"))...)
	}
	switch {
	case allowed.Affinity == nil && is != nil:
		allowed.Affinity = &corev1.Affinity{NodeAffinity: is}
	case allowed.Affinity != nil:
		allowed.Affinity.NodeAffinity = is
		if *allowed.Affinity == (corev1.Affinity{}) && now.Affinity == nil {
			allowed.Affinity = nil
		}
	}
	return errs
}

func nodeAffinity(s *corev1.PodSpec) *corev1.NodeAffinity {
	if s.Affinity == nil {
		return nil
	}
	return s.Affinity.NodeAffinity
}

// onlyNarrowed: terms are alternatives, so one more or one less would widen or change the choice; a condition more in one of them
// narrows it.
func onlyNarrowed(now, before *corev1.NodeAffinity, path *field.Path) (errs field.ErrorList) {
	is, was := requiredTerms(now), requiredTerms(before)
	if len(was) == 0 {
		return nil
	}
	if len(is) != len(was) {
		return field.ErrorList{field.Invalid(path, is, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")}
	}
	for i := range was {
		if !begins(is[i].MatchExpressions, was[i].MatchExpressions) || !begins(is[i].MatchFields, was[i].MatchFields) || empty(was[i]) && !empty(is[i]) {
			errs = append(errs, field.Invalid(path.Index(i), is[i], "only additions are allowed (no mutations or deletions)"))
		}
	}
	return errs
}

func requiredTerms(n *corev1.NodeAffinity) []corev1.NodeSelectorTerm {
	if n == nil || n.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return n.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
}

// empty terms match nothing.
func empty(t corev1.NodeSelectorTerm) bool { return len(t.MatchExpressions)+len(t.MatchFields) == 0 }

func begins(list, with []corev1.NodeSelectorRequirement) bool {
	return len(list) >= len(with) && equality.Semantic.DeepEqual(list[:len(with):len(with)], with)
}
