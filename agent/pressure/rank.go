package pressure

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Use is a pod and what it uses. Memory and Disk are bytes, by container; Volumes is what the pod has on disk beside its
// containers' layers and logs.
type Use struct {
	Pod          *corev1.Pod
	Memory, Disk map[string]int64
	Volumes      int64
	Processes    int64
}

// criticalPriority is that of system-cluster-critical, from which on a pod is never ended for pressure.
const criticalPriority = 2_000_000_000

func priority(p *corev1.Pod) int32 {
	if p.Spec.Priority == nil {
		return 0
	}
	return *p.Spec.Priority
}

// rank orders pods by who has to go first: those over their requests, then by priority, then by how much they are over.
func rank(list []Use, s Signal) []Use {
	var out []Use
	for _, u := range list {
		if priority(u.Pod) < criticalPriority {
			out = append(out, u)
		}
	}
	slices.SortStableFunc(out, func(a, b Use) int {
		overA, overB := a.over(s), b.over(s)
		first := func(over int64) int { // pods within their requests come last
			if over > 0 {
				return 0
			}
			return 1
		}
		if s == PIDAvailable { // nobody requests process numbers
			return cmp.Or(cmp.Compare(priority(a.Pod), priority(b.Pod)), cmp.Compare(overB, overA))
		}
		return cmp.Or(cmp.Compare(first(overA), first(overB)), cmp.Compare(priority(a.Pod), priority(b.Pod)), cmp.Compare(overB, overA))
	})
	return out
}

// over is by how much a pod uses more than it asked for.
func (u Use) over(s Signal) int64 {
	if s == PIDAvailable {
		return u.Processes
	}
	name := resourceName[s]
	sum := u.Volumes
	if s == MemoryAvailable {
		sum = 0
	}
	for container, used := range u.of(s) {
		sum += used - request(u.Pod, container, name)
	}
	return sum
}

func (u Use) of(s Signal) map[string]int64 {
	if s == MemoryAvailable {
		return u.Memory
	}
	return u.Disk
}

func request(p *corev1.Pod, container string, name corev1.ResourceName) int64 {
	for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == container {
				q := list[i].Resources.Requests[name]
				return q.Value()
			}
		}
	}
	return 0
}

// message tells a pod's owner why it was ended.
func (u Use) message(s Signal, t Threshold, l Level) string {
	name := resourceName[s]
	var b strings.Builder
	fmt.Fprintf(&b, "The node was low on resource: %s. Threshold quantity: %s, available: %s. ", name, amount(s, t.value(l.Capacity)), amount(s, l.Available))
	if s == PIDAvailable || name == "inodes" {
		return b.String()
	}
	used := u.of(s)
	containers := make([]string, 0, len(used))
	for c := range used {
		containers = append(containers, c)
	}
	slices.Sort(containers)
	for _, c := range containers {
		if asked := request(u.Pod, c, name); used[c] > asked {
			fmt.Fprintf(&b, "Container %s was using %s, request is %s, has larger consumption of %s. ", c, kib(used[c]), amount(s, asked), name)
		}
	}
	return b.String()
}

// amount says a level as people write it.
func amount(s Signal, n int64) string {
	if s == PIDAvailable || s == NodefsInodesFree || s == ImagefsInodes || n == 0 {
		return resource.NewQuantity(n, resource.DecimalSI).String()
	}
	return kib(n)
}

func kib(n int64) string { return resource.NewQuantity(n>>10<<10, resource.BinarySI).String() }
