package quota

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/admission"
	helpers "k8s.io/component-helpers/resource"
)

var one = *resource.NewQuantity(1, resource.DecimalSI)

// podComputes are the names under which a quota counts what pods request and may use.
var podComputes = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage,
	corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage}

func podNames(n corev1.ResourceName) bool {
	if n == corev1.ResourcePods || slices.Contains(podComputes, n) || strings.HasPrefix(string(n), corev1.ResourceHugePagesPrefix) {
		return true
	}
	// Extended resources are counted as requested: requests.example.com/bulb.
	rest, ok := strings.CutPrefix(string(n), corev1.DefaultResourceRequestsPrefix)
	return ok && (strings.HasPrefix(rest, corev1.ResourceHugePagesPrefix) || strings.Contains(rest, "/"))
}

// podUsage: a pod that has ended counts only as an object.
func podUsage(o runtime.Object) (corev1.ResourceList, error) {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("%T is no pod", o)
	}
	out := corev1.ResourceList{"count/pods": one}
	if p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		return out, nil
	}
	out[corev1.ResourcePods] = one
	for name, q := range helpers.PodRequests(p, helpers.PodResourcesOptions{UseStatusResources: true}) {
		if slices.Contains(podComputes, name) || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
			out[name] = q
		}
		out[corev1.DefaultResourceRequestsPrefix+name] = q
	}
	for name, q := range helpers.PodLimits(p, helpers.PodResourcesOptions{UseStatusResources: true}) {
		out["limits."+name] = q
	}
	return out, nil
}

// handlesPod: a new pod, one that changes, and one that is resized.
func handlesPod(at admission.Attributes) bool {
	if at.GetSubresource() == "resize" {
		return at.GetOperation() == admission.Update
	}
	return handlesWhole(at)
}

// podConstraints: what is counted must be said. A pod that says nothing of its memory could take all of it.
func podConstraints(required []corev1.ResourceName, o runtime.Object) error {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("%T is no pod", o)
	}
	// A pod that says what it needs as a whole need not say it of its containers.
	said := corev1.ResourceList{}
	if r := p.Spec.Resources; r != nil {
		whole := sums(corev1.ResourceRequirements{Requests: r.Requests, Limits: r.Limits})
		maps.Copy(said, whole)
	}
	missing := map[string][]string{}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			own := sums(list[i].Resources)
			for _, name := range required {
				_, here := own[name]
				if _, above := said[name]; !here && !above && slices.Contains(podComputes, name) {
					missing[list[i].Name] = append(missing[list[i].Name], string(name))
				}
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	var words []string
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		slices.Sort(missing[name])
		for _, r := range missing[name] {
			words = append(words, fmt.Sprintf("%s for: %s", r, name))
		}
	}
	slices.Sort(words)
	return fmt.Errorf("must specify %s", strings.Join(words, "; "))
}

// sums are the names under which a quota counts requirements.
func sums(r corev1.ResourceRequirements) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, q := range r.Requests {
		out[name], out[corev1.DefaultResourceRequestsPrefix+name] = q, q
	}
	for name, q := range r.Limits {
		out["limits."+name] = q
	}
	return out
}

// podScope says whether a pod is in a scope.
func podScope(s corev1.ScopedResourceSelectorRequirement, o runtime.Object) (bool, error) {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return false, fmt.Errorf("%T is no pod", o)
	}
	switch s.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return p.Spec.ActiveDeadlineSeconds != nil && *p.Spec.ActiveDeadlineSeconds >= 0, nil
	case corev1.ResourceQuotaScopeNotTerminating:
		return p.Spec.ActiveDeadlineSeconds == nil || *p.Spec.ActiveDeadlineSeconds < 0, nil
	case corev1.ResourceQuotaScopeBestEffort:
		return bestEffort(p), nil
	case corev1.ResourceQuotaScopeNotBestEffort:
		return !bestEffort(p), nil
	case corev1.ResourceQuotaScopePriorityClass:
		return ofPriority(p, s)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return crossesNamespaces(p), nil
	}
	return false, nil
}

// bestEffort: no container says anything of processor time or memory.
func bestEffort(p *corev1.Pod) bool {
	silent := func(r corev1.ResourceRequirements) bool {
		for _, list := range []corev1.ResourceList{r.Requests, r.Limits} {
			for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				if q, ok := list[name]; ok && !q.IsZero() {
					return false
				}
			}
		}
		return true
	}
	if p.Spec.Resources != nil && !silent(*p.Spec.Resources) {
		return false
	}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if !silent(list[i].Resources) {
				return false
			}
		}
	}
	return true
}

func ofPriority(p *corev1.Pod, s corev1.ScopedResourceSelectorRequirement) (bool, error) {
	switch s.Operator {
	case corev1.ScopeSelectorOpExists:
		return p.Spec.PriorityClassName != "", nil
	case corev1.ScopeSelectorOpDoesNotExist:
		return p.Spec.PriorityClassName == "", nil
	}
	op := selection.In
	if s.Operator == corev1.ScopeSelectorOpNotIn {
		op = selection.NotIn
	}
	r, err := labels.NewRequirement(string(s.ScopeName), op, s.Values)
	if err != nil {
		return false, err
	}
	set := labels.Set{}
	if p.Spec.PriorityClassName != "" {
		set[string(s.ScopeName)] = p.Spec.PriorityClassName
	}
	return r.Matches(set), nil
}

// crossesNamespaces says whether a pod's wishes look at other namespaces' pods.
func crossesNamespaces(p *corev1.Pod) bool {
	crosses := func(t corev1.PodAffinityTerm) bool { return len(t.Namespaces) > 0 || t.NamespaceSelector != nil }
	crossesWeighted := func(t corev1.WeightedPodAffinityTerm) bool { return crosses(t.PodAffinityTerm) }
	a := p.Spec.Affinity
	if a == nil {
		return false
	}
	return a.PodAffinity != nil && (slices.ContainsFunc(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, crosses) || slices.ContainsFunc(a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, crossesWeighted)) ||
		a.PodAntiAffinity != nil && (slices.ContainsFunc(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, crosses) || slices.ContainsFunc(a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution, crossesWeighted))
}
