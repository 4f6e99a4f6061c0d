package api

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
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
// they request as much together, BestEffort if nothing asks for either, else Burstable.
func QOSClass(pod *corev1.Pod) corev1.PodQOSClass {
	if r := pod.Spec.Resources; helpers.IsPodLevelResourcesSet(pod) {
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

// qosOf sums what is asked for and limited; what is zero is not there.
func qosOf(all []corev1.ResourceRequirements) corev1.PodQOSClass {
	guaranteed := true
	requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
	for _, r := range all {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			addPositive(requests, name, r.Requests[name])
			if !addPositive(limits, name, r.Limits[name]) {
				guaranteed = false
			}
		}
	}
	switch {
	case len(requests)+len(limits) == 0:
		return corev1.PodQOSBestEffort
	case guaranteed && equality.Semantic.DeepEqual(requests, limits):
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

func addPositive(sums corev1.ResourceList, name corev1.ResourceName, q resource.Quantity) bool {
	if !positive(q) {
		return false
	}
	sum := sums[name]
	sum.Add(q)
	sums[name] = sum
	return true
}

func positive(q resource.Quantity) bool { return q.Sign() > 0 }
