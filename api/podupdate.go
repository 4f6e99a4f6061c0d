package api

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
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
	errs := validatePod(p)
	if len(p.Spec.Containers) != len(old.Spec.Containers) {
		return append(errs, field.Forbidden(spec.Child("containers"), "pod updates may not add or remove containers"))
	}
	if len(p.Spec.InitContainers) != len(old.Spec.InitContainers) {
		return append(errs, field.Forbidden(spec.Child("initContainers"), "pod updates may not add or remove containers"))
	}
	errs = append(errs, validateDeadlineUpdate(p.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds, spec.Child("activeDeadlineSeconds"))...)
	errs = append(errs, onlyAddedTolerations(p.Spec.Tolerations, old.Spec.Tolerations, spec.Child("tolerations"))...)
	errs = append(errs, onlyRemovedGates(p.Spec.SchedulingGates, old.Spec.SchedulingGates, spec.Child("schedulingGates"))...)

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

// allowGated: while a pod waits at a gate, where it may run can be narrowed.
func allowGated(allowed, now *corev1.PodSpec, spec *field.Path) (errs field.ErrorList) {
	for k, v := range allowed.NodeSelector {
		if now.NodeSelector[k] != v {
			errs = append(errs, field.Invalid(spec.Child("nodeSelector"), now.NodeSelector, "only additions are allowed (no mutations or deletions)"))
			break
		}
	}
	allowed.NodeSelector = now.NodeSelector
	was := allowed.Affinity.DeepCopy()
	switch {
	case was == nil || was.NodeAffinity == nil || was.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil:
		if now.Affinity == nil {
			return errs
		}
		if was == nil {
			was = &corev1.Affinity{}
		}
		was.NodeAffinity = now.Affinity.NodeAffinity
		if equality.Semantic.DeepEqual(was, now.Affinity) {
			allowed.Affinity = now.Affinity
		}
	case now.Affinity != nil && now.Affinity.NodeAffinity != nil:
		if narrower(now.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution, was.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution) {
			was.NodeAffinity = now.Affinity.NodeAffinity
			allowed.Affinity = was
		} else {
			path := spec.Child("affinity", "nodeAffinity", ruleRequired)
			errs = append(errs, field.Invalid(path, now.Affinity.NodeAffinity, "no additions/deletions to non-empty NodeSelectorTerms list are allowed"))
		}
	}
	return errs
}

// narrower: as many terms as before, each with all that it had.
func narrower(now, before *corev1.NodeSelector) bool {
	if now == nil || len(now.NodeSelectorTerms) != len(before.NodeSelectorTerms) {
		return false
	}
	for i, b := range before.NodeSelectorTerms {
		n := now.NodeSelectorTerms[i]
		if len(n.MatchExpressions) < len(b.MatchExpressions) || len(n.MatchFields) < len(b.MatchFields) ||
			!equality.Semantic.DeepEqual(n.MatchExpressions[:len(b.MatchExpressions)], b.MatchExpressions) ||
			!equality.Semantic.DeepEqual(n.MatchFields[:len(b.MatchFields)], b.MatchFields) {
			return false
		}
	}
	return true
}

func validatePodStatus(p, old *corev1.Pod) (errs field.ErrorList) {
	status := field.NewPath("status")
	if p.Spec.NodeName != old.Spec.NodeName {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "nodeName"), "may not be changed directly"))
	}
	if n := p.Status.NominatedNodeName; n != "" {
		errs = append(errs, faults(status.Child("nominatedNodeName"), n, utilvalidation.IsDNS1123Subdomain(n))...)
	}
	if old.Status.QOSClass != "" && p.Status.QOSClass != old.Status.QOSClass {
		errs = append(errs, field.Invalid(status.Child("qosClass"), p.Status.QOSClass, "field is immutable"))
	}
	for i := range p.Status.PodIPs {
		errs = append(errs, utilvalidation.IsValidIPForLegacyField(status.Child("podIPs").Index(i).Child("ip"), p.Status.PodIPs[i].IP, false, nil)...)
	}
	return errs
}

// ValidateEphemeralContainersUpdate is for the ephemeralcontainers subresource: containers for
// debugging can be added, and those that are there stay as they are.
func ValidateEphemeralContainersUpdate(p, old *corev1.Pod) field.ErrorList {
	path := field.NewPath("spec", "ephemeralContainers")
	errs := validatePodSpec(&p.Spec, field.NewPath("spec"))
	for _, b := range old.Spec.EphemeralContainers {
		i := slices.IndexFunc(p.Spec.EphemeralContainers, func(n corev1.EphemeralContainer) bool { return n.Name == b.Name })
		switch {
		case i < 0:
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", b.Name)))
		case !equality.Semantic.DeepEqual(b, p.Spec.EphemeralContainers[i]):
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be changed\n", b.Name)))
		}
	}
	return errs
}
