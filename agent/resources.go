package agent

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
	"k8s.io/kubectl/pkg/util/qos"

	"github.com/peapod-sh/peapod/agent/runtime"
)

const (
	cpuPeriod    = 100_000 // microseconds
	cpuQuotaMin  = 1_000   // the kernel refuses less
	cpuSharesMin = 2
	cpuSharesMax = 262_144
)

func podQOS(pod *corev1.Pod) corev1.PodQOSClass {
	if q := pod.Status.QOSClass; q != "" {
		return q
	}
	return qos.ComputePodQOS(pod)
}

// kernelTerms turns requests and limits into weights and quotas.
func kernelTerms(requests, limits corev1.ResourceList) runtime.Resources {
	r := runtime.Resources{CPUShares: cpuSharesMin}
	cpu, ok := requests[corev1.ResourceCPU]
	if !ok {
		cpu = limits[corev1.ResourceCPU]
	}
	if m := cpu.MilliValue(); m > 0 {
		r.CPUShares = min(cpuSharesMax, max(cpuSharesMin, uint64(m)*1024/1000))
	}
	limit := limits[corev1.ResourceCPU]
	if m := limit.MilliValue(); m > 0 {
		r.CPUPeriod, r.CPUQuota = cpuPeriod, max(cpuQuotaMin, m*cpuPeriod/1000)
	}
	memory := limits[corev1.ResourceMemory]
	r.MemoryBytes = memory.Value()
	return r
}

func containerResources(pod *corev1.Pod, c *corev1.Container, nodeMemory int64) runtime.Resources {
	r := kernelTerms(c.Resources.Requests, c.Resources.Limits)
	r.OOMScoreAdj = oomScoreAdj(podQOS(pod), c.Resources.Requests[corev1.ResourceMemory], nodeMemory)
	return r
}

// podResources are the sums for the pod's cgroup; a limit holds only if every container has one.
func podResources(pod *corev1.Pod) runtime.Resources {
	if !anyResources(pod) {
		return runtime.Resources{CPUShares: cpuSharesMin}
	}
	limits := resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{})
	for _, c := range pod.Spec.Containers {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			if _, ok := c.Resources.Limits[name]; !ok && !hasPodLevel(pod, name) {
				delete(limits, name)
			}
		}
	}
	return kernelTerms(resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{}), limits)
}

func hasPodLevel(pod *corev1.Pod, name corev1.ResourceName) bool {
	if pod.Spec.Resources == nil {
		return false
	}
	_, ok := pod.Spec.Resources.Limits[name]
	return ok
}

func anyResources(pod *corev1.Pod) bool {
	if pod.Spec.Resources != nil || len(pod.Spec.Overhead) > 0 {
		return true
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if len(list[i].Resources.Requests)+len(list[i].Resources.Limits) > 0 {
				return true
			}
		}
	}
	return false
}

// oomScoreAdj makes the kernel kill BestEffort pods first, and Burstable ones the sooner the less memory
// they had asked for.
func oomScoreAdj(class corev1.PodQOSClass, memoryRequest resource.Quantity, nodeMemory int64) int {
	switch class {
	case corev1.PodQOSGuaranteed:
		return -997
	case corev1.PodQOSBestEffort:
		return 1000
	}
	if nodeMemory <= 0 {
		return 999
	}
	return int(min(999, max(3, 1000-1000*memoryRequest.Value()/nodeMemory)))
}
