package api

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateStatefulSet(set *appsv1.StatefulSet) (errs field.ErrorList) {
	s, spec := &set.Spec, field.NewPath("spec")
	errs = append(errs, validatePodManagement(s.PodManagementPolicy, spec.Child("podManagementPolicy"))...)
	errs = append(errs, validateStatefulSetStrategy(&s.UpdateStrategy, spec.Child("updateStrategy"))...)
	errs = append(errs, validateClaimRetention(s.PersistentVolumeClaimRetentionPolicy, spec.Child("persistentVolumeClaimRetentionPolicy"))...)
	errs = append(errs, nonnegative(int64(valueOf(s.Replicas)), spec.Child("replicas"))...)
	errs = append(errs, nonnegative(int64(s.MinReadySeconds), spec.Child("minReadySeconds"))...)
	if s.Ordinals != nil {
		errs = append(errs, nonnegative(int64(s.Ordinals.Start), spec.Child("ordinals", "start"))...)
	}
	if s.ServiceName != "" {
		errs = append(errs, faults(spec.Child("serviceName"), s.ServiceName, utilvalidation.IsDNS1123Label(s.ServiceName))...)
	}
	if s.Selector == nil {
		errs = append(errs, field.Required(spec.Child("selector"), ""))
	}
	errs = append(errs, validateStampSelector(s.Selector, "statefulset", spec.Child("selector"))...)
	for i := range s.VolumeClaimTemplates {
		errs = append(errs, validatePersistentVolumeClaimSpec(&s.VolumeClaimTemplates[i].Spec, spec.Child("volumeClaimTemplates").Index(i).Child("spec"))...)
	}
	template := s.Template
	template.Spec.Volumes = volumesWithClaims(s.Template.Spec.Volumes, s.VolumeClaimTemplates)
	errs = append(errs, templateMatches(s.Selector, &template, spec)...)
	return append(errs, validateLastingTemplate(&template, "StatefulSet", spec.Child("template"))...)
}

func validatePodManagement(p appsv1.PodManagementPolicyType, path *field.Path) field.ErrorList {
	switch p {
	case appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement:
		return nil
	case "":
		return field.ErrorList{field.Required(path, "")}
	}
	return field.ErrorList{field.Invalid(path, p, fmt.Sprintf("must be '%s' or '%s'", appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement))}
}

// validateStatefulSetStrategy does not know the strategy Recreate, which is alpha.
func validateStatefulSetStrategy(s *appsv1.StatefulSetUpdateStrategy, path *field.Path) field.ErrorList {
	rolling := path.Child("rollingUpdate")
	switch s.Type {
	case "":
		return field.ErrorList{field.Required(path, "")}
	case appsv1.OnDeleteStatefulSetStrategyType:
		if s.RollingUpdate != nil {
			return field.ErrorList{field.Invalid(rolling, s.RollingUpdate,
				fmt.Sprintf("only allowed for updateStrategy '%s'", appsv1.RollingUpdateStatefulSetStrategyType))}
		}
		return nil
	case appsv1.RollingUpdateStatefulSetStrategyType:
		return validateStatefulSetRolling(s.RollingUpdate, rolling)
	}
	return field.ErrorList{field.Invalid(path, *s,
		fmt.Sprintf("must be '%s' or '%s'", appsv1.RollingUpdateStatefulSetStrategyType, appsv1.OnDeleteStatefulSetStrategyType))}
}

func validateStatefulSetRolling(r *appsv1.RollingUpdateStatefulSetStrategy, path *field.Path) field.ErrorList {
	if r == nil {
		return nil
	}
	errs := nonnegative(int64(valueOf(r.Partition)), path.Child("partition"))
	if r.MaxUnavailable == nil {
		return errs
	}
	down, at := *r.MaxUnavailable, path.Child("maxUnavailable")
	errs = append(errs, validateNumberOrPercent(down, at)...)
	if numberOf(down) == 0 {
		errs = append(errs, field.Invalid(at, down, "cannot be 0"))
	}
	return append(errs, notMoreThanAll(down, at)...)
}

func validateClaimRetention(p *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	retain, remove := appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	return append(oneOf(p.WhenDeleted, path.Child("whenDeleted"), retain, remove), oneOf(p.WhenScaled, path.Child("whenScaled"), retain, remove)...)
}

// validateStatefulSetUpdate carries what may change over to a copy of the old spec; whatever still differs may not.
func validateStatefulSetUpdate(set, old *appsv1.StatefulSet) field.ErrorList {
	errs := validateStatefulSet(set)
	allowed, s := old.Spec, &set.Spec
	allowed.Replicas, allowed.Ordinals, allowed.Template = s.Replicas, s.Ordinals, s.Template
	allowed.UpdateStrategy, allowed.RevisionHistoryLimit, allowed.MinReadySeconds = s.UpdateStrategy, s.RevisionHistoryLimit, s.MinReadySeconds
	allowed.PersistentVolumeClaimRetentionPolicy = s.PersistentVolumeClaimRetentionPolicy
	if !equality.Semantic.DeepEqual(allowed, *s) {
		errs = append(errs, field.Forbidden(field.NewPath("spec"), "updates to statefulset spec for fields other than 'replicas', 'ordinals', "+
			"'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"))
	}
	return errs
}

func validateStatefulSetStatus(set, old *appsv1.StatefulSet) field.ErrorList {
	s, path := &set.Status, field.NewPath("status")
	c := counts{path: path}
	c.add("replicas", s.Replicas)
	c.add("readyReplicas", s.ReadyReplicas)
	c.add("currentReplicas", s.CurrentReplicas)
	c.add("updatedReplicas", s.UpdatedReplicas)
	c.add("availableReplicas", s.AvailableReplicas)
	c.errs = append(c.errs, nonnegative(s.ObservedGeneration, path.Child("observedGeneration"))...)
	c.add("collisionCount", valueOf(s.CollisionCount))
	c.atMost("readyReplicas", s.ReadyReplicas, "status.replicas", s.Replicas)
	c.atMost("currentReplicas", s.CurrentReplicas, "status.replicas", s.Replicas)
	c.atMost("updatedReplicas", s.UpdatedReplicas, "status.replicas", s.Replicas)
	c.atMost("availableReplicas", s.AvailableReplicas, "status.replicas", s.Replicas)
	c.atMost("availableReplicas", s.AvailableReplicas, "status.readyReplicas", s.ReadyReplicas)
	c.grows("collisionCount", s.CollisionCount, old.Status.CollisionCount)
	return c.errs
}
