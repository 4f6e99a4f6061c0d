package api

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateDaemonSet(d *appsv1.DaemonSet) (errs field.ErrorList) {
	s, spec := &d.Spec, field.NewPath("spec")
	if text, ok := d.Annotations[appsv1.DeprecatedTemplateGeneration]; ok {
		if _, err := parseInt(text); err != nil {
			errs = append(errs, field.Invalid(field.NewPath("metadata", "annotations").Key(appsv1.DeprecatedTemplateGeneration), text, err.Error()))
		}
	}
	errs = append(errs, validateStampSelector(s.Selector, "daemonset", spec.Child("selector"))...)
	errs = append(errs, templateMatches(s.Selector, &s.Template, spec)...)
	errs = append(errs, validateLastingTemplate(&s.Template, "DaemonSet", spec.Child("template"))...)
	errs = append(errs, nonnegative(int64(s.MinReadySeconds), spec.Child("minReadySeconds"))...)
	errs = append(errs, validateDaemonSetStrategy(&s.UpdateStrategy, spec.Child("updateStrategy"))...)
	return append(errs, nonnegative(int64(valueOf(s.RevisionHistoryLimit)), spec.Child("revisionHistoryLimit"))...)
}

func validateDaemonSetStrategy(s *appsv1.DaemonSetUpdateStrategy, path *field.Path) field.ErrorList {
	switch s.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
		return nil
	case appsv1.RollingUpdateDaemonSetStrategyType:
		if s.RollingUpdate == nil {
			return field.ErrorList{field.Required(path.Child("rollingUpdate"), "")}
		}
		return validateDaemonSetRolling(s.RollingUpdate, path.Child("rollingUpdate"))
	}
	return field.ErrorList{field.NotSupported(path, *s,
		[]appsv1.DaemonSetUpdateStrategyType{appsv1.RollingUpdateDaemonSetStrategyType, appsv1.OnDeleteDaemonSetStrategyType})}
}

// validateDaemonSetRolling: a node's pod is either stopped before the next one starts, or after.
func validateDaemonSetRolling(r *appsv1.RollingUpdateDaemonSet, path *field.Path) field.ErrorList {
	down, up := valueOf(r.MaxUnavailable), valueOf(r.MaxSurge)
	downAt, upAt := path.Child("maxUnavailable"), path.Child("maxSurge")
	errs := append(validateNumberOrPercent(down, downAt), validateNumberOrPercent(up, upAt)...)
	errs = append(errs, notMoreThanAll(down, downAt)...)
	errs = append(errs, notMoreThanAll(up, upAt)...)
	switch {
	case numberOf(down) != 0 && numberOf(up) != 0:
		errs = append(errs, field.Invalid(upAt, up, "may not be set when maxUnavailable is non-zero"))
	case numberOf(down) == 0 && numberOf(up) == 0:
		errs = append(errs, field.Required(downAt, "cannot be 0 when maxSurge is 0"))
	}
	return errs
}

func validateDaemonSetUpdate(d, old *appsv1.DaemonSet) field.ErrorList {
	return append(validateDaemonSet(d),
		validation.ValidateImmutableField(d.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))...)
}

func validateDaemonSetStatus(d, old *appsv1.DaemonSet) field.ErrorList {
	s, path := &d.Status, field.NewPath("status")
	c := counts{path: path}
	c.add("currentNumberScheduled", s.CurrentNumberScheduled)
	c.add("numberMisscheduled", s.NumberMisscheduled)
	c.add("desiredNumberScheduled", s.DesiredNumberScheduled)
	c.add("numberReady", s.NumberReady)
	c.errs = append(c.errs, nonnegative(s.ObservedGeneration, path.Child("observedGeneration"))...)
	c.add("updatedNumberScheduled", s.UpdatedNumberScheduled)
	c.add("numberAvailable", s.NumberAvailable)
	c.add("numberUnavailable", s.NumberUnavailable)
	c.add("collisionCount", valueOf(s.CollisionCount))
	c.grows("collisionCount", s.CollisionCount, old.Status.CollisionCount)
	return c.errs
}
