package api

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	helpers "k8s.io/component-helpers/resource"
)

// EffectivePodResources is what a pod asks of its node and may use at most. For each resource the
// requests are the larger of the sum of the containers and the peak while the init containers run
// (those that restart always run on beside everything after them), plus the overhead; requests and
// limits of the pod as a whole take precedence. The lists are the caller's own.
func EffectivePodResources(spec *corev1.PodSpec) (requests, limits corev1.ResourceList) {
	pod := corev1.Pod{Spec: *spec}
	return helpers.PodRequests(&pod, helpers.PodResourcesOptions{}), helpers.PodLimits(&pod, helpers.PodResourcesOptions{})
}

// QOSClass is the pod's quality of service: Guaranteed if every container limits cpu and memory and
// requests as much, BestEffort if nothing asks for either, else Burstable.
func QOSClass(pod *corev1.Pod) corev1.PodQOSClass {
	if r := pod.Spec.Resources; r != nil && len(r.Requests)+len(r.Limits) > 0 {
		return qosOf([]corev1.ResourceRequirements{*r})
	}
	var all []corev1.ResourceRequirements
	for i := range pod.Spec.InitContainers {
		all = append(all, pod.Spec.InitContainers[i].Resources)
	}
	for i := range pod.Spec.Containers {
		all = append(all, pod.Spec.Containers[i].Resources)
	}
	return qosOf(all)
}

func qosOf(all []corev1.ResourceRequirements) corev1.PodQOSClass {
	guaranteed, asksNothing := true, true
	for _, r := range all {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			request, limit := r.Requests[name], r.Limits[name]
			if positive(request) || positive(limit) {
				asksNothing = false
			}
			if !positive(limit) || (positive(request) && request.Cmp(limit) != 0) {
				guaranteed = false
			}
		}
	}
	switch {
	case asksNothing:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

func positive(q resource.Quantity) bool { return q.Sign() > 0 }
