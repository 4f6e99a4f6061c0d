package reconcile

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
)

// Existing is what there is when an engine starts.
type Existing interface {
	// Objects yields all but pods, as changes without an old state, in any order.
	Objects(yield func(*api.Change) bool)
	// Pods yields the records of all pods, in any order; those of one owner one after the other cost least.
	Pods(yield func(*api.PodRecord) bool)
	// Counts is how many objects there are, and how many pods by namespace.
	Counts() (objects int, pods map[string]int)
}

// Load takes in what exists when the engine starts. It is as if all were observed at one moment, pods last, so that what they refer to is
// known: since every object marks what concerns itself, its pods need not mark that once more, each of them.
func (e *Engine) Load(all Existing) {
	e.expect(all.Counts())
	e.loading = true
	for c := range all.Objects {
		e.observeObject(c)
		e.breathe()
	}
	n := 0
	for rec := range all.Pods {
		e.indexPod(&pod{rec: rec})
		if n++; n%loadedAtOnce == 0 {
			e.breathe()
		}
	}
	e.loading = false
	e.lookAtNodes()
	if e.cidrs.full() {
		clear(e.turned) // a node without a block is not new then
	}
}

// lookAtNodes marks the pods that are on nodes which are known to be trouble.
func (e *Engine) lookAtNodes() {
	for node, on := range e.onNode {
		if e.calm(node) {
			continue
		}
		for _, p := range *on {
			e.podOnNode(p)
		}
	}
}

// expect makes room, so that no index grows step by step.
func (e *Engine) expect(objects int, pods map[string]int) {
	e.objects, e.byUID = make(map[ref]*object, objects), make(map[types.UID]ref, objects)
	sum := 0
	for ns, n := range pods {
		e.space(ns).pods = make(map[string]*pod, n)
		sum += n
	}
	e.podsByUID = make(map[types.UID]*pod, sum)
	e.table.Expect(sum)
}
