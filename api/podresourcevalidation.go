package api

import (
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	helpers "k8s.io/component-helpers/resource"
)

// validatePodResources: only some resources can be shared by the pod as a whole, and no container may be promised more than the
// pod has.
func validatePodResources(s *corev1.PodSpec, spec *field.Path) field.ErrorList {
	path := spec.Child("resources")
	errs := validateResources(s.Resources, path)
	for _, list := range []struct {
		name string
		of   corev1.ResourceList
	}{{"limits", s.Resources.Limits}, {"requests", s.Resources.Requests}} {
		for _, r := range sortedKeys(list.of) {
			if !helpers.IsSupportedPodLevelResource(r) {
				errs = append(errs, field.NotSupported(path.Child(list.name), r, sets.List(helpers.SupportedPodLevelResources())))
			}
		}
	}
	if len(s.Resources.Claims) > 0 {
		errs = append(errs, field.Forbidden(path.Child("claims"), "claims cannot be set for Resources at pod-level"))
	}
	pod := &corev1.Pod{Spec: *s}
	requests := helpers.AggregateContainerRequests(pod, helpers.PodResourcesOptions{})
	errs = append(errs, validateEnough(s.Resources.Requests, requests, "requests", path)...)
	limits := helpers.AggregateContainerLimits(pod, helpers.PodResourcesOptions{})
	maps.DeleteFunc(limits, func(name corev1.ResourceName, _ resource.Quantity) bool { return !hugePages(name) })
	errs = append(errs, validateEnough(s.Resources.Limits, limits, "limits", path)...)
	errs = append(errs, validateWithin(s.Containers, s.Resources.Limits, spec.Child("containers"))...)
	return append(errs, validateWithin(s.InitContainers, s.Resources.Limits, spec.Child("initContainers"))...)
}

// validateEnough: the pod has at least what its containers have together.
func validateEnough(pod, sums corev1.ResourceList, list string, path *field.Path) (errs field.ErrorList) {
	for _, name := range sortedKeys(sums) {
		sum := sums[name]
		if q, ok := pod[name]; ok && sum.Cmp(q) > 0 {
			errs = append(errs, field.Invalid(path.Child(list).Key(string(name)), q.String(),
				fmt.Sprintf("must be greater than or equal to aggregate container %s of %s", list, sum.String())))
		}
	}
	return errs
}

// validateWithin: no container may use more than the whole pod.
func validateWithin(containers []corev1.Container, limits corev1.ResourceList, path *field.Path) (errs field.ErrorList) {
	for i := range containers {
		own := containers[i].Resources.Limits
		for _, name := range sortedKeys(own) {
			q := own[name]
			if most, ok := limits[name]; ok && q.Cmp(most) > 0 {
				errs = append(errs, field.Invalid(path.Index(i).Child("resources", "limits").Key(string(name)), q.String(),
					fmt.Sprintf("must be less than or equal to pod limits of %s", most.String())))
			}
		}
	}
	return errs
}

// validatePodClaims checks the claims of devices that a pod waits for.
func validatePodClaims(claims []corev1.PodResourceClaim, path *field.Path) (errs field.ErrorList) {
	names := sets.New[string]()
	for i := range claims {
		c, at := &claims[i], path.Index(i)
		switch {
		case c.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case names.Has(c.Name):
			errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
		default:
			errs = append(errs, faults(at.Child("name"), c.Name, utilvalidation.IsDNS1123Label(c.Name))...)
			names.Insert(c.Name)
		}
		errs = append(errs, validateClaimSource(c, at)...)
	}
	return errs
}

func validateClaimSource(c *corev1.PodResourceClaim, path *field.Path) (errs field.ErrorList) {
	switch claim, template := c.ResourceClaimName, c.ResourceClaimTemplateName; {
	case claim != nil && template != nil:
		errs = append(errs, field.Invalid(path, c, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"))
	case claim == nil && template == nil:
		errs = append(errs, field.Invalid(path, c, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"))
	}
	name := func(p *string, child string) {
		if p != nil {
			errs = append(errs, faults(path.Child(child), *p, validation.NameIsDNSSubdomain(*p, false))...)
		}
	}
	name(c.ResourceClaimName, "resourceClaimName")
	name(c.ResourceClaimTemplateName, "resourceClaimTemplateName")
	return errs
}

// validateClaimUses checks the claims that one container uses: each must be one of the pod's.
func validateClaimUses(uses []corev1.ResourceClaim, claims []corev1.PodResourceClaim, path *field.Path) (errs field.ErrorList) {
	known, seen := sets.New[string](), sets.New[corev1.ResourceClaim]()
	for i := range claims {
		known.Insert(claims[i].Name)
	}
	for i, u := range uses {
		at := path.Index(i)
		if u.Name == "" {
			errs = append(errs, field.Required(at, ""))
			continue
		}
		if u.Request != "" {
			errs = append(errs, faults(at.Child("request"), u.Request, utilvalidation.IsDNS1123Label(u.Request))...)
		}
		if seen.Has(u) {
			errs = append(errs, field.Duplicate(at, u.Name))
		}
		seen.Insert(u)
		if !known.Has(u.Name) {
			missing := field.NotFound(at, u.Name)
			missing.Detail = "must be one of the names in pod.spec.resourceClaims which is empty"
			if known.Len() > 0 {
				missing.Detail = "must be one of the names in pod.spec.resourceClaims: " + strings.Join(sets.List(known), ", ")
			}
			errs = append(errs, missing)
		}
	}
	return errs
}
