package api

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validatePodAnnotations checks those annotations of a pod that have a meaning.
func validatePodAnnotations(annotations map[string]string, s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	if v, ok := annotations[corev1.MirrorPodAnnotationKey]; ok && s.NodeName == "" {
		errs = append(errs, field.Invalid(path.Key(corev1.MirrorPodAnnotationKey), v, "must set spec.nodeName if mirror pod annotation is set"))
	}
	if v := annotations[corev1.PodDeletionCost]; v != "" && !deletionCost(v) {
		errs = append(errs, field.Invalid(path.Key(corev1.PodDeletionCost), v, "must be a 32bit integer"))
	}
	for _, key := range sortedKeys(annotations) {
		name, ok := strings.CutPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix)
		if !ok {
			continue
		}
		if !hasContainer(s, name) && !hasEphemeral(s, name) {
			errs = append(errs, field.Invalid(path.Key(key), name, "container not found"))
		}
		if v := annotations[key]; !appArmorAnnotation(v) {
			errs = append(errs, field.Invalid(path.Key(key), v, fmt.Sprintf("invalid AppArmor profile name: %q", v)))
		}
	}
	return errs
}

// deletionCost says whether v is a number, without a plus or zeros before it.
func deletionCost(v string) bool {
	_, err := strconv.ParseInt(v, 10, 32)
	return err == nil && (v == "0" || v[0] == '-' || v[0] >= '1' && v[0] <= '9')
}

func appArmorAnnotation(v string) bool {
	return v == "" || v == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault || v == corev1.DeprecatedAppArmorBetaProfileNameUnconfined ||
		strings.HasPrefix(v, corev1.DeprecatedAppArmorBetaProfileNamePrefix)
}

func hasEphemeral(s *corev1.PodSpec, name string) bool {
	for i := range s.EphemeralContainers {
		if s.EphemeralContainers[i].Name == name {
			return true
		}
	}
	return false
}

// validatePodAnnotationsUpdate: what an annotation has already brought about cannot be taken back.
func validatePodAnnotationsUpdate(p, old *corev1.Pod) (errs field.ErrorList) {
	path := field.NewPath("metadata", "annotations")
	was, wasMirror := old.Annotations[corev1.MirrorPodAnnotationKey]
	if now, isMirror := p.Annotations[corev1.MirrorPodAnnotationKey]; wasMirror && (!isMirror || now != was) {
		errs = append(errs, field.Forbidden(path.Key(corev1.MirrorPodAnnotationKey), "may not remove or update mirror pod annotation"))
	} else if !wasMirror && isMirror {
		errs = append(errs, field.Forbidden(path.Key(corev1.MirrorPodAnnotationKey), "may not add mirror pod annotation"))
	}
	before, after := appArmorAnnotations(old), appArmorAnnotations(p)
	for _, key := range sortedKeys(before) {
		if v, ok := after[key]; !ok || v != before[key] {
			errs = append(errs, field.Forbidden(path.Key(key), "may not remove or update AppArmor annotations"))
		}
	}
	for _, key := range sortedKeys(after) {
		name := strings.TrimPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix)
		if _, ok := before[key]; !ok && !hasEphemeral(&p.Spec, name) { // a container that is new may bring its own
			errs = append(errs, field.Forbidden(path.Key(key), "may not add AppArmor annotations"))
		}
	}
	return errs
}

func appArmorAnnotations(p *corev1.Pod) map[string]string {
	list := maps.Clone(p.Annotations)
	maps.DeleteFunc(list, func(key, _ string) bool {
		return !strings.HasPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix)
	})
	return list
}
