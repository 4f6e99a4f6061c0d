package agent

import (
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// share is what a pod takes of its node, or a node has to give: thousandths of a CPU, bytes, bytes, pods.
type share struct{ milliCPU, memory, disk, pods int64 }

// shareOf sums a pod's requests.
func shareOf(pod *corev1.Pod) share {
	s := share{pods: 1}
	if !anyResources(pod) {
		return s
	}
	r := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	s.milliCPU, s.memory, s.disk = r.Cpu().MilliValue(), r.Memory().Value(), r.StorageEphemeral().Value()
	return s
}

func shareOfList(l corev1.ResourceList) share {
	return share{l.Cpu().MilliValue(), l.Memory().Value(), l.StorageEphemeral().Value(), l.Pods().Value()}
}

func (s share) plus(o share) share {
	return share{s.milliCPU + o.milliCPU, s.memory + o.memory, s.disk + o.disk, s.pods + o.pods}
}

func (s share) minus(o share) share {
	return share{s.milliCPU - o.milliCPU, s.memory - o.memory, s.disk - o.disk, s.pods - o.pods}
}

// lack is what a pod wants and cannot have.
type lack struct {
	resource              corev1.ResourceName
	wanted, used, whole   int64
	moreThanTheNodeHasAll bool
}

func (l *lack) String() string {
	if l.moreThanTheNodeHasAll {
		return fmt.Sprintf("Node didn't have enough capacity: %s, requested: %d, capacity: %d", l.resource, l.wanted, l.whole)
	}
	return fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", l.resource, l.wanted, l.used, l.whole)
}

// room is a node's allocatable resources and what its pods have been given of them.
type room struct {
	mu          sync.Mutex
	whole, used share
	waiting     map[*share]waiter // resizes for which there was too little
}

// take gives a pod that has held some of the room another share of it, unless there is too little.
func (r *room) take(held *share, want share) *lack {
	r.mu.Lock()
	defer r.mu.Unlock()
	missing := r.lack(held, want)
	if missing == nil {
		r.set(held, want)
	}
	return missing
}

// lack is what keeps a pod that has held some of the room from another share of it; nil if nothing does. It expects r.mu.
func (r *room) lack(held *share, want share) *lack {
	others := r.used.minus(*held)
	for _, x := range []struct {
		name                corev1.ResourceName
		want, others, whole int64
	}{
		{corev1.ResourcePods, want.pods, others.pods, r.whole.pods},
		{corev1.ResourceCPU, want.milliCPU, others.milliCPU, r.whole.milliCPU},
		{corev1.ResourceMemory, want.memory, others.memory, r.whole.memory},
		{corev1.ResourceEphemeralStorage, want.disk, others.disk, r.whole.disk},
	} {
		if x.want > 0 && x.want > x.whole-x.others {
			return &lack{x.name, x.want, x.others, x.whole, x.want > x.whole}
		}
	}
	return nil
}

// give lets a pod have its share whether there is room or not: it runs already.
func (r *room) give(held *share, want share) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set(held, want)
	r.serve()
}

// leave gives back what a pod had, and its place among those that wait.
func (r *room) leave(held *share) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, held)
	if *held != (share{}) {
		r.set(held, share{})
		r.serve()
	}
}

// set expects r.mu.
func (r *room) set(held *share, want share) {
	r.used = r.used.minus(*held).plus(want)
	*held = want
}
