package agent

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// waiter is a resize that waits for room.
type waiter struct {
	held *share
	want share
	turn turn
	// granted is called when the room is the pod's. It is called with room.mu held and must not block.
	granted func()
}

// turn says who of those that wait is served first, as Kubernetes does it.
type turn struct {
	grows    bool // asks for more of anything than it has
	priority int32
	class    corev1.PodQOSClass
	since    time.Time // when it was deferred
	uid      types.UID
}

func (t turn) compare(o turn) int {
	return cmp.Or(
		cmp.Compare(btoi(t.grows), btoi(o.grows)), // what gives something back makes room for the others
		cmp.Compare(o.priority, t.priority),
		cmp.Compare(classOrder(t.class), classOrder(o.class)),
		t.since.Compare(o.since),
		strings.Compare(string(t.uid), string(o.uid)),
	)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func classOrder(c corev1.PodQOSClass) int {
	return slices.Index([]corev1.PodQOSClass{corev1.PodQOSGuaranteed, corev1.PodQOSBurstable, corev1.PodQOSBestEffort}, c)
}

// ask gives a pod another share in its turn: now, if it returns nil, or later, unless the node will never have so much. What the pod
// asked for before is forgotten.
func (r *room) ask(w waiter) *lack {
	r.mu.Lock()
	defer r.mu.Unlock()
	w.turn.grows = w.want.exceeds(*w.held)
	granted, later := false, w.granted
	w.granted = func() { granted = true }
	if r.waiting == nil {
		r.waiting = map[*share]waiter{}
	}
	r.waiting[w.held] = w
	r.serve()
	if granted {
		return nil
	}
	missing := r.lack(w.held, w.want)
	if w.granted = later; missing.moreThanTheNodeHasAll {
		delete(r.waiting, w.held)
	} else {
		r.waiting[w.held] = w
	}
	return missing
}

// withdraw forgets what a pod has asked for.
func (r *room) withdraw(held *share) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, held)
}

// serve grants what there is room for now, in turn. One for which there is none keeps nobody else waiting. It expects r.mu.
func (r *room) serve() {
	queue := slices.SortedFunc(maps.Values(r.waiting), func(a, b waiter) int { return a.turn.compare(b.turn) })
	for i := 0; i < len(queue); i++ {
		w := queue[i]
		if r.lack(w.held, w.want) != nil {
			continue
		}
		delete(r.waiting, w.held)
		r.set(w.held, w.want)
		w.granted()
		queue, i = slices.Delete(queue, i, i+1), -1 // it may have given something back that others wait for
	}
}

// exceeds says whether a share is more than another of anything.
func (s share) exceeds(o share) bool {
	return s.milliCPU > o.milliCPU || s.memory > o.memory || s.disk > o.disk || s.pods > o.pods
}

func priorityOf(pod *corev1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}
