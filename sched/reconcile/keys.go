package reconcile

import (
	"cmp"
	"container/heap"
	"maps"
	"slices"
	"strings"
	"time"
)

// area is a controller; each has its own set of dirty keys.
type area uint8

const (
	areaNamespace area = iota
	areaNode
	areaEviction // a pod on a tainted node: ns, name
	areaEnded    // pods that have ended: one key for all
	areaItem     // garbage: ns, name, resource of an object whose owners may be gone
	areaOwner    // garbage: an owner (name is its UID) that waits for its dependents
	areaDeployment
	areaReplicaSet
	areaReplicationController
	areaCronJob
	areaJob
	areaTracked // a pod that a job counts: ns, name
	areaStatefulSet
	areaBerth // a node of a DaemonSet: ns, name, and the node as resource
	areaDaemonSet
	areaEphemeral // a pod that wants claims of its own: ns, name
	areaVolume
	areaClaim
	areaService
	areaBalancer   // services of type LoadBalancer: one key for all
	areaAddress    // name is the address
	areaProtection // a storage object: resource, ns, name
	areaRange      // a ServiceCIDR
	areaMigration
	areaBudget
	areaAutoscaler
	areaIngress
	areaQuota // a namespace
	areas
)

// key is a unit of work.
type key struct {
	area     area
	resource string // for areaItem and areaProtection: the group resource; for areaBerth a node
	ns, name string
}

func compareKeys(a, b key) int {
	return cmp.Or(cmp.Compare(a.area, b.area), strings.Compare(a.ns, b.ns),
		strings.Compare(a.name, b.name), strings.Compare(a.resource, b.resource))
}

// agenda is what is to be looked at: now (dirty) or at a time (timers).
type agenda struct {
	dirty    [areas]map[key]struct{}
	due      map[key]time.Time
	timers   timerHeap
	failures map[key]failure
	taken    uint64 // how often keys were taken, from 1: what was marked before may have to be marked again
}

type failure struct {
	count int
	last  time.Time
}

func newAgenda() agenda {
	a := agenda{due: map[key]time.Time{}, failures: map[key]failure{}, taken: 1}
	for i := range a.dirty {
		a.dirty[i] = map[key]struct{}{}
	}
	return a
}

func (a *agenda) mark(k key) { a.dirty[k.area][k] = struct{}{} }

// take empties an area's dirty set, in a fixed order. Timers of what is taken are forgotten: whoever
// looks at a key sets its timer anew.
func (a *agenda) take(ar area) []key {
	if len(a.dirty[ar]) == 0 {
		return nil
	}
	a.taken++
	keys := slices.SortedFunc(maps.Keys(a.dirty[ar]), compareKeys)
	a.dirty[ar] = emptied(a.dirty[ar])
	for _, k := range keys {
		delete(a.due, k)
	}
	return keys
}

// emptied is the map without its entries, or a new one if there were many: going through a map takes as long as it once was big.
func emptied[K comparable](m map[K]struct{}) map[K]struct{} {
	if len(m) > smallMap {
		return map[K]struct{}{}
	}
	clear(m)
	return m
}

// wake marks the key at a time; a later call replaces the time.
func (a *agenda) wake(k key, at time.Time) {
	if old, ok := a.due[k]; ok && old.Equal(at) {
		return
	}
	a.due[k] = at
	heap.Push(&a.timers, timer{at, k})
}

// fire marks what is due; next is the earliest time that is left, zero if there is none.
func (a *agenda) fire(now time.Time) {
	for len(a.timers) > 0 && !a.timers[0].at.After(now) {
		t := heap.Pop(&a.timers).(timer)
		if at, ok := a.due[t.key]; ok && at.Equal(t.at) {
			delete(a.due, t.key)
			a.mark(t.key)
		}
	}
}

func (a *agenda) next() time.Time {
	for len(a.timers) > 0 {
		t := a.timers[0]
		if at, ok := a.due[t.key]; ok && at.Equal(t.at) {
			return t.at
		}
		heap.Pop(&a.timers)
	}
	return time.Time{}
}

// retry marks a key whose op failed: at once for the first few times, then after growing delays,
// so that an op that can never succeed costs little.
func (a *agenda) retry(k key, now time.Time) {
	f := a.failures[k]
	if now.Sub(f.last) > 2*retryDelayMax {
		f.count = 0
	}
	f.count++
	f.last = now
	a.failures[k] = f
	if f.count <= retriesAtOnce {
		a.mark(k)
		return
	}
	a.wake(k, now.Add(min(retryDelayMin<<min(f.count-retriesAtOnce, 10), retryDelayMax)))
}

type timer struct {
	at  time.Time
	key key
}

// timerHeap is ordered by time and then by key.
type timerHeap []timer

func (h timerHeap) Len() int      { return len(h) }
func (h timerHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h timerHeap) Less(i, j int) bool {
	if c := h[i].at.Compare(h[j].at); c != 0 {
		return c < 0
	}
	return compareKeys(h[i].key, h[j].key) < 0
}
func (h *timerHeap) Push(x any) { *h = append(*h, x.(timer)) }
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	*h = old[:len(old)-1]
	return t
}
