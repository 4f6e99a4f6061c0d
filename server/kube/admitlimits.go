package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/admission"
	helpers "k8s.io/component-helpers/resource"
)

// limitAnnotation says what of a pod's resources its namespace's limits gave it.
const limitAnnotation = "kubernetes.io/limit-ranger"

// limitRule keeps pods and claims within the limits of their namespace, and gives containers those that they do not name.
type limitRule struct{ state }

func (r limitRule) mutate(_ context.Context, at admission.Attributes) error {
	if p := limitedPod(at); p != nil {
		limitPod(p, r)
	}
	return nil
}

func (r limitRule) validate(ctx context.Context, at admission.Attributes) error {
	check := func() error { return nil }
	if p := limitedPod(at); p != nil {
		check = func() error { return checkPodLimits(p, r) }
	} else if c := limitedClaim(at); c != nil {
		check = func() error { return checkClaimLimits(c, r) }
	}
	if err := r.surely(ctx, check); err != nil {
		return admission.NewForbidden(at, err)
	}
	return nil
}

// limitedPod is the pod of a request that says what its containers get: its creation, or a resize.
func limitedPod(at admission.Attributes) *corev1.Pod {
	if p := created[corev1.Pod](at, podsResource); p != nil {
		return p
	}
	if at.GetResource().GroupResource() != podsResource || at.GetOperation() != admission.Update || at.GetSubresource() != "resize" {
		return nil
	}
	p, _ := at.GetObject().(*corev1.Pod)
	if p != nil && p.DeletionTimestamp != nil {
		return nil
	}
	return p
}

func limitedClaim(at admission.Attributes) *corev1.PersistentVolumeClaim {
	if c := created[corev1.PersistentVolumeClaim](at, claimsResource); c != nil {
		return c
	}
	c, _ := updated[corev1.PersistentVolumeClaim](at, claimsResource)
	if c != nil && c.DeletionTimestamp != nil {
		return nil
	}
	return c
}

// limitsOf are the limits of a type that a namespace's ranges set, range by range.
func limitsOf(facts Facts, namespace string, t corev1.LimitType) (out []corev1.LimitRangeItem) {
	for _, r := range factsOf[*corev1.LimitRange](facts, limitRangesResource, namespace) {
		for _, l := range r.Spec.Limits {
			if l.Type == t {
				out = append(out, l)
			}
		}
	}
	return out
}

// limitPod fills in the requests and limits that containers do not name.
func limitPod(p *corev1.Pod, facts Facts) {
	for _, r := range factsOf[*corev1.LimitRange](facts, limitRangesResource, p.Namespace) {
		var given []string
		for _, l := range r.Spec.Limits {
			if l.Type == corev1.LimitTypeContainer {
				given = append(given, limitContainers(p.Spec.Containers, "container", l)...)
				given = append(given, limitContainers(p.Spec.InitContainers, "init container", l)...)
			}
		}
		if len(given) > 0 {
			if p.Annotations == nil {
				p.Annotations = map[string]string{}
			}
			p.Annotations[limitAnnotation] = "LimitRanger plugin set: " + strings.Join(given, "; ")
		}
	}
}

func limitContainers(list []corev1.Container, kind string, l corev1.LimitRangeItem) (given []string) {
	for i := range list {
		r := &list[i].Resources
		for _, part := range []struct {
			word string
			dst  *corev1.ResourceList
			src  corev1.ResourceList
		}{{"request", &r.Requests, l.DefaultRequest}, {"limit", &r.Limits, l.Default}} {
			if names := fillResources(part.dst, part.src); len(names) > 0 {
				given = append(given, fmt.Sprintf("%s %s for %s %s", strings.Join(names, ", "), part.word, kind, list[i].Name))
			}
		}
	}
	return given
}

// fillResources adds what a list lacks, and names it.
func fillResources(dst *corev1.ResourceList, src corev1.ResourceList) (names []string) {
	for _, name := range sortedResources(src) {
		if _, there := (*dst)[name]; there {
			continue
		}
		if *dst == nil {
			*dst = corev1.ResourceList{}
		}
		(*dst)[name] = src[name].DeepCopy()
		names = append(names, string(name))
	}
	return names
}

func sortedResources(list corev1.ResourceList) []corev1.ResourceName {
	return slices.Sorted(maps.Keys(list))
}

// checkPodLimits reports all limits that a pod does not keep.
func checkPodLimits(p *corev1.Pod, facts Facts) error {
	var errs []error
	for _, l := range limitsOf(facts, p.Namespace, corev1.LimitTypeContainer) {
		for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
			for i := range list {
				errs = append(errs, usage{list[i].Resources.Requests, list[i].Resources.Limits}.faults(l)...)
			}
		}
	}
	if limits := limitsOf(facts, p.Namespace, corev1.LimitTypePod); len(limits) > 0 {
		own := helpers.PodResourcesOptions{ExcludeOverhead: true}
		u := usage{helpers.PodRequests(p, own), helpers.PodLimits(p, own)}
		for _, l := range limits {
			errs = append(errs, u.faults(l)...)
		}
	}
	return utilerrors.NewAggregate(errs)
}

// checkClaimLimits reports all limits that a claim does not keep; a claim has requests only.
func checkClaimLimits(c *corev1.PersistentVolumeClaim, facts Facts) error {
	var errs []error
	u := usage{requests: c.Spec.Resources.Requests}
	for _, l := range limitsOf(facts, c.Namespace, corev1.LimitTypePersistentVolumeClaim) {
		for _, name := range sortedResources(l.Min) {
			errs = append(errs, u.tooLittle(l.Type, name, l.Min[name]))
		}
		for _, name := range sortedResources(l.Max) {
			errs = append(errs, u.asksTooMuch(l.Type, name, l.Max[name]))
		}
	}
	return utilerrors.NewAggregate(errs)
}

// usage is what a container or a pod asks for and may use at most.
type usage struct{ requests, limits corev1.ResourceList }

func (u usage) faults(l corev1.LimitRangeItem) (errs []error) {
	for _, name := range sortedResources(l.Min) {
		errs = append(errs, u.tooLittle(l.Type, name, l.Min[name]))
	}
	for _, name := range sortedResources(l.Max) {
		errs = append(errs, u.tooMuch(l.Type, name, l.Max[name]))
	}
	for _, name := range sortedResources(l.MaxLimitRequestRatio) {
		errs = append(errs, u.tooUneven(l.Type, name, l.MaxLimitRequestRatio[name]))
	}
	return errs
}

func (u usage) tooLittle(t corev1.LimitType, name corev1.ResourceName, least apiresource.Quantity) error {
	request, asked := u.requests[name]
	limit, limited := u.limits[name]
	is := fmt.Sprintf("minimum %s usage per %s is %s", name, t, least.String())
	switch {
	case !asked:
		return fmt.Errorf("%s.  No request is specified", is)
	case request.Cmp(least) < 0:
		return fmt.Errorf("%s, but request is %s", is, request.String())
	case limited && limit.Cmp(least) < 0:
		return fmt.Errorf("%s, but limit is %s", is, limit.String())
	}
	return nil
}

func (u usage) tooMuch(t corev1.LimitType, name corev1.ResourceName, most apiresource.Quantity) error {
	request, asked := u.requests[name]
	limit, limited := u.limits[name]
	is := fmt.Sprintf("maximum %s usage per %s is %s", name, t, most.String())
	switch {
	case !limited:
		return fmt.Errorf("%s.  No limit is specified", is)
	case limit.Cmp(most) > 0:
		return fmt.Errorf("%s, but limit is %s", is, limit.String())
	case asked && request.Cmp(most) > 0:
		return fmt.Errorf("%s, but request is %s", is, request.String())
	}
	return nil
}

// asksTooMuch is tooMuch for what has no limits.
func (u usage) asksTooMuch(t corev1.LimitType, name corev1.ResourceName, most apiresource.Quantity) error {
	request, asked := u.requests[name]
	is := fmt.Sprintf("maximum %s usage per %s is %s", name, t, most.String())
	switch {
	case !asked:
		return fmt.Errorf("%s.  No request is specified", is)
	case request.Cmp(most) > 0:
		return fmt.Errorf("%s, but request is %s", is, request.String())
	}
	return nil
}

func (u usage) tooUneven(t corev1.LimitType, name corev1.ResourceName, most apiresource.Quantity) error {
	request, limit := u.requests[name], u.limits[name]
	is := fmt.Sprintf("%s max limit to request ratio per %s is %s", name, t, most.String())
	switch {
	case request.IsZero():
		return fmt.Errorf("%s, but no request is specified or request is 0", is)
	case limit.IsZero():
		return fmt.Errorf("%s, but no limit is specified or limit is 0", is)
	}
	if ratio := limit.AsApproximateFloat64() / request.AsApproximateFloat64(); ratio > most.AsApproximateFloat64() {
		return fmt.Errorf("%s, but provided ratio is %f", is, ratio)
	}
	return nil
}
