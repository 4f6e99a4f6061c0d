package api

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateStamp checks what every kind has that keeps a number of equal pods.
func validateStamp(replicas *int32, selector *metav1.LabelSelector, t *corev1.PodTemplateSpec, spec *field.Path) (errs field.ErrorList) {
	errs = append(errs, nonnegative(int64(valueOf(replicas)), spec.Child("replicas"))...)
	if selector == nil {
		errs = append(errs, field.Required(spec.Child("selector"), ""))
	} else {
		errs = append(errs, validateStampSelector(selector, "deployment", spec.Child("selector"))...)
	}
	errs = append(errs, templateMatches(selector, t, spec)...) // no selector selects nothing
	return append(errs, validateLastingTemplate(t, "ReplicaSet", spec.Child("template"))...)
}

// validateStampSelector reports a selector of bad form, and one of all pods: a stamp would take over whatever there is.
func validateStampSelector(s *metav1.LabelSelector, kind string, path *field.Path) field.ErrorList {
	errs := metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, path)
	if s != nil && len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(path, s, "empty selector is invalid for "+kind))
	}
	return errs
}

// validateLastingTemplate checks the pods-to-be of a kind that replaces a pod that ends: they may not end by their own will.
func validateLastingTemplate(t *corev1.PodTemplateSpec, kind string, path *field.Path) field.ErrorList {
	errs := validateTemplate(t, path)
	if p := t.Spec.RestartPolicy; p != corev1.RestartPolicyAlways && p != "" {
		errs = append(errs, field.NotSupported(path.Child("spec", "restartPolicy"), p, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(path.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in "+kind+" is not Supported"))
	}
	return errs
}

func validateReplicaSet(r *appsv1.ReplicaSet) field.ErrorList {
	spec := field.NewPath("spec")
	errs := validateStamp(r.Spec.Replicas, r.Spec.Selector, &r.Spec.Template, spec)
	return append(errs, nonnegative(int64(r.Spec.MinReadySeconds), spec.Child("minReadySeconds"))...)
}

func validateReplicaSetUpdate(r, old *appsv1.ReplicaSet) field.ErrorList {
	return append(validateReplicaSet(r),
		validation.ValidateImmutableField(r.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))...)
}

func validateReplicaSetStatus(r, _ *appsv1.ReplicaSet) field.ErrorList {
	return validateReplicaCounts(&r.Status)
}

// validateReplicaCounts checks the status of the two kinds that do nothing but keep a number of pods.
func validateReplicaCounts(s *appsv1.ReplicaSetStatus) field.ErrorList {
	path := field.NewPath("status")
	c := counts{path: path}
	c.add("replicas", s.Replicas)
	c.add("fullyLabeledReplicas", s.FullyLabeledReplicas)
	c.add("readyReplicas", s.ReadyReplicas)
	c.add("availableReplicas", s.AvailableReplicas)
	c.errs = append(c.errs, nonnegative(s.ObservedGeneration, path.Child("observedGeneration"))...)
	c.atMost("fullyLabeledReplicas", s.FullyLabeledReplicas, "status.replicas", s.Replicas)
	c.atMost("readyReplicas", s.ReadyReplicas, "status.replicas", s.Replicas)
	c.atMost("availableReplicas", s.AvailableReplicas, "status.replicas", s.Replicas)
	c.atMost("availableReplicas", s.AvailableReplicas, "readyReplicas", s.ReadyReplicas)
	return c.errs
}

// counts gathers the faults of the counters of a status.
type counts struct {
	path *field.Path
	errs field.ErrorList
}

func (c *counts) add(name string, n int32) {
	c.errs = append(c.errs, nonnegative(int64(n), c.path.Child(name))...)
}

func (c *counts) atMost(name string, n int32, otherName string, other int32) {
	if n > other {
		c.errs = append(c.errs, field.Invalid(c.path.Child(name), n, "cannot be greater than "+otherName))
	}
}

// grows reports a counter that went back or away.
func (c *counts) grows(name string, now, before *int32) {
	if before != nil && (now == nil || *now < *before) {
		c.errs = append(c.errs, field.Invalid(c.path.Child(name), valueOf(now), "cannot be decremented"))
	}
}

func validateDeployment(d *appsv1.Deployment) field.ErrorList {
	s, spec := &d.Spec, field.NewPath("spec")
	errs := validateStamp(s.Replicas, s.Selector, &s.Template, spec)
	errs = append(errs, validateStrategy(&s.Strategy, spec.Child("strategy"))...)
	errs = append(errs, nonnegative(int64(s.MinReadySeconds), spec.Child("minReadySeconds"))...)
	if s.RevisionHistoryLimit != nil {
		errs = append(errs, nonnegative(int64(*s.RevisionHistoryLimit), spec.Child("revisionHistoryLimit"))...)
	}
	if p := s.ProgressDeadlineSeconds; p != nil {
		errs = append(errs, nonnegative(int64(*p), spec.Child("progressDeadlineSeconds"))...)
		if *p <= s.MinReadySeconds {
			errs = append(errs, field.Invalid(spec.Child("progressDeadlineSeconds"), *p, "must be greater than minReadySeconds"))
		}
	}
	return errs
}

func validateStrategy(s *appsv1.DeploymentStrategy, path *field.Path) field.ErrorList {
	rolling := path.Child("rollingUpdate")
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			return field.ErrorList{field.Forbidden(rolling, "may not be specified when strategy `type` is 'Recreate'")}
		}
		return nil
	case appsv1.RollingUpdateDeploymentStrategyType:
		if s.RollingUpdate == nil {
			return field.ErrorList{field.Required(rolling, "this should be defaulted and never be nil")}
		}
		return validateRollingUpdate(s.RollingUpdate, rolling)
	}
	return oneOf(s.Type, path.Child("type"), appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType)
}

func validateRollingUpdate(r *appsv1.RollingUpdateDeployment, path *field.Path) field.ErrorList {
	down, up := valueOf(r.MaxUnavailable), valueOf(r.MaxSurge)
	errs := validateNumberOrPercent(down, path.Child("maxUnavailable"))
	errs = append(errs, validateNumberOrPercent(up, path.Child("maxSurge"))...)
	if numberOf(down) == 0 && numberOf(up) == 0 {
		errs = append(errs, field.Invalid(path.Child("maxUnavailable"), r.MaxUnavailable, "may not be 0 when `maxSurge` is 0"))
	}
	return append(errs, notMoreThanAll(down, path.Child("maxUnavailable"))...)
}

// notMoreThanAll reports a share of more than the whole.
func notMoreThanAll(v intstr.IntOrString, path *field.Path) field.ErrorList {
	if v.Type == intstr.String && numberOf(v) > 100 {
		return field.ErrorList{field.Invalid(path, v, "must not be greater than 100%")}
	}
	return nil
}

// numberOf is the number itself or the per cent; 0 if it is neither.
func numberOf(v intstr.IntOrString) int {
	if v.Type == intstr.Int {
		return v.IntValue()
	}
	n := intstr.FromString(strings.TrimSuffix(v.StrVal, "%"))
	return n.IntValue()
}

func validateNumberOrPercent(v intstr.IntOrString, path *field.Path) field.ErrorList {
	if v.Type == intstr.String {
		return faults(path, v, utilvalidation.IsValidPercent(v.StrVal))
	}
	return nonnegative(int64(v.IntValue()), path)
}

func validateDeploymentUpdate(d, old *appsv1.Deployment) field.ErrorList {
	return append(validateDeployment(d),
		validation.ValidateImmutableField(d.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))...)
}

func validateDeploymentStatus(d, old *appsv1.Deployment) field.ErrorList {
	s, path := &d.Status, field.NewPath("status")
	c := counts{path: path}
	c.errs = nonnegative(s.ObservedGeneration, path.Child("observedGeneration"))
	c.add("replicas", s.Replicas)
	c.add("updatedReplicas", s.UpdatedReplicas)
	c.add("readyReplicas", s.ReadyReplicas)
	c.add("availableReplicas", s.AvailableReplicas)
	c.add("unavailableReplicas", s.UnavailableReplicas)
	c.atMost("updatedReplicas", s.UpdatedReplicas, "status.replicas", s.Replicas)
	c.atMost("readyReplicas", s.ReadyReplicas, "status.replicas", s.Replicas)
	c.atMost("availableReplicas", s.AvailableReplicas, "status.replicas", s.Replicas)
	c.atMost("availableReplicas", s.AvailableReplicas, "readyReplicas", s.ReadyReplicas)
	c.grows("collisionCount", s.CollisionCount, old.Status.CollisionCount)
	return c.errs
}
