package reconcile

import (
	"cmp"
	"container/heap"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// daemon is what is known of a DaemonSet between two looks at it: node by node and in sums, so that a change costs what it concerns and not
// what there is.
type daemon struct {
	ref
	generation  int64
	required    nodeaffinity.RequiredNodeAffinity
	tolerations []corev1.Toleration
	node        string // the only one, if the template names it
	hash        string // the label of pods of today's template

	berths  map[string]*berth
	touched map[string]struct{} // nodes to be looked at
	all     bool                // every node is to be looked at
	sums    sums
	behind  nameHeap // nodes with an old pod, and some that had one

	failures map[string]failure // pods that have ended before their time, by node
}

// berth is a node as one DaemonSet sees it.
type berth struct {
	pods   []*pod // also those that are deleting or have ended
	is     berthState
	queued bool // in daemon.behind
}

// berthState is what a node adds to the sums. All but kept, misscheduled and surging are only said of nodes that should have a pod.
type berthState struct {
	wanted, kept     bool // a pod should be here; a pod that is here may stay
	misscheduled     bool
	current          bool // there is a pod
	ready, available bool
	updated          bool // the pod, or the one that would be kept of several, is of today's template
	behind           bool // the only pod is of another one
	surging          bool // there is one of each
}

type sums struct{ desired, current, misscheduled, ready, available, updated, surging int }

func (s *sums) add(is berthState, sign int) {
	for _, part := range []struct {
		n  *int
		is bool
	}{{&s.desired, is.wanted}, {&s.current, is.current}, {&s.misscheduled, is.misscheduled}, {&s.ready, is.ready},
		{&s.available, is.available}, {&s.updated, is.updated}, {&s.surging, is.surging}} {
		if part.is {
			*part.n += sign
		}
	}
}

// look counts one node anew.
func (d *daemon) look(e *Engine, node string, minReadySeconds int32) {
	b := d.berths[node]
	if b == nil {
		b = &berth{}
		d.berths[node] = b
	}
	d.sums.add(b.is, -1)
	b.is = berthState{}
	if o := e.object(Nodes, "", node); o != nil {
		b.is.wanted, b.is.kept = d.eligible(o.obj.(*corev1.Node))
	}
	next := d.lookAtPods(e, b, minReadySeconds)
	d.sums.add(b.is, 1)
	if !next.IsZero() {
		e.wake(key{area: areaBerth, ns: d.ns, name: d.name, resource: node}, next)
	}
	switch {
	case b.is.behind && !b.queued:
		b.queued = true
		heap.Push(&d.behind, node)
	case !b.is.wanted && len(b.pods) == 0:
		delete(d.berths, node)
	}
}

// lookAtPods says what the pods of a node add up to. next is when one will have been ready for long enough; zero is never.
func (d *daemon) lookAtPods(e *Engine, b *berth, minReadySeconds int32) (next time.Time) {
	is, live, young := &b.is, b.live(), 0
	for _, p := range live {
		ok, at := e.availableSince(p, minReadySeconds)
		is.ready = is.ready || is.wanted && e.ready(p)
		is.available = is.available || is.wanted && ok
		if !ok && !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
		if d.updated(p) {
			young++
		}
	}
	is.misscheduled = !is.wanted && len(b.pods) > 0
	is.current = is.wanted && len(b.pods) > 0
	is.updated = is.wanted && len(live) > 0 && d.updated(live[0])
	is.behind = is.wanted && len(live) == 1 && young == 0
	is.surging = young > 0 && young < len(live)
	return next
}

func (d *daemon) updated(p *pod) bool { return revisionLabel(p) == d.hash }

// live are the pods that are neither deleting nor ended, the one to keep first: that has a node, is ready, has been so for longest, is oldest.
func (b *berth) live() []*pod {
	if len(b.pods) == 1 && !b.pods[0].deleting() && !b.pods[0].rec.Terminal() {
		return b.pods
	}
	var out []*pod
	for _, p := range b.pods {
		if !p.deleting() && !p.rec.Terminal() {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(x, y *pod) int {
		return cmp.Or(-compareBool(x.rec.Node != "", y.rec.Node != ""), -compareBool(x.counted.ready, y.counted.ready),
			cmp.Compare(x.rec.Status.ReadySince(), y.rec.Status.ReadySince()), cmp.Compare(x.rec.Created, y.rec.Created), strings.Compare(x.name(), y.name()))
	})
	return out
}

// nextBehind takes the first node with an available old pod; nil if there is none. Those that are not available are replaced when they are looked at.
func (d *daemon) nextBehind() (string, *berth) {
	for len(d.behind) > 0 {
		name := heap.Pop(&d.behind).(string)
		b := d.berths[name]
		if b == nil {
			continue
		}
		b.queued = false
		if b.is.behind && b.is.available {
			return name, b
		}
	}
	return "", nil
}

// retryBerth marks the node of a DaemonSet's pod of which something did not apply.
func (e *Engine) retryBerth(f *flock, p *pod) {
	if d := e.daemons[f.uid]; d != nil {
		e.retry(key{area: areaBerth, ns: d.ns, name: d.name, resource: berthOf(p)}, e.now)
	}
}

// failedDaemon has every node of a DaemonSet looked at again, since some pods were not made.
func (e *Engine) failedDaemon(owner types.UID) {
	if d := e.daemons[owner]; d != nil {
		d.all = true
	}
}

// nameHeap is a heap of names, the first in order on top.
type nameHeap []string

func (h nameHeap) Len() int           { return len(h) }
func (h nameHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h nameHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h *nameHeap) Push(x any)        { *h = append(*h, x.(string)) }
func (h *nameHeap) Pop() any {
	old := *h
	s := old[len(old)-1]
	*h = old[:len(old)-1]
	return s
}
