package reconcile

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
)

// Existing is what there is when an engine starts.
type Existing interface {
	// Changes yields everything as changes without an old state, in any order; pods last costs least.
	Changes(yield func(*api.Change) bool)
	// PodCounts is how many pods there are, by namespace.
	PodCounts() map[string]int
}

// Load takes in what exists when the engine starts, instead of an Observe of each change. It is as if all were observed at one moment: since
// every object marks what concerns itself, its pods need not mark that once more, each of them.
func (e *Engine) Load(all Existing) {
	e.expect(all.PodCounts())
	e.loading = true
	n := 0
	for c := range all.Changes {
		e.Observe(c)
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

// expect makes room for so many pods, so that no index grows step by step.
func (e *Engine) expect(pods map[string]int) {
	sum := 0
	for ns, n := range pods {
		e.space(ns).pods = make(map[string]*pod, n)
		sum += n
	}
	e.podsByUID = make(map[types.UID]*pod, sum)
	e.table.Expect(sum)
}
