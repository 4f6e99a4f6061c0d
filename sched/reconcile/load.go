package reconcile

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
)

// Existing is what there is when an engine starts.
type Existing interface {
	// Objects yields all but pods, as changes without an old state, in any order.
	Objects(yield func(*api.Change) bool)
	// Pods yields the records of all pods, one namespace after the other; those of one owner one after the other cost least.
	Pods(yield func(*api.PodRecord) bool)
	// Counts is how many objects there are, and how many pods.
	Counts() (objects, pods int)
}

// Load takes in what exists when the engine starts. It is as if all were observed at one moment, pods last, so that what they refer to is
// known: since every object marks what concerns itself, its pods need not mark that once more, each of them.
func (e *Engine) Load(all Existing) {
	objects, pods := all.Counts()
	e.objects, e.byUID = make(map[ref]*object, objects), make(map[types.UID]ref, objects)
	e.podsByUID.expect(pods)
	e.loading = true
	for c := range all.Objects {
		e.observeObject(c)
		e.breathe()
	}
	l := loader{e: e}
	for rec := range all.Pods {
		l.add(rec)
	}
	l.end()
	e.loading = false
	e.lookAtNodes()
	if e.cidrs.full() {
		clear(e.turned) // a node without a block is not new then
	}
}

// loader takes in pods, some at once: what it does with each of them waits for memory, and the processor waits for several at the same time if
// they follow one another closely.
type loader struct {
	e     *Engine
	space string // that the pods are of
	pods  []*pod // of the namespace
	done  int    // so many of them are in every index but the one by name
}

func (l *loader) add(rec *api.PodRecord) {
	if ns := rec.Namespace(); ns != l.space {
		l.end()
		l.space = ns
	}
	l.pods = append(l.pods, &pod{rec: rec})
	if len(l.pods)-l.done == loadedAtOnce {
		l.index()
	}
}

func (l *loader) index() {
	e, some := l.e, l.pods[l.done:]
	for _, p := range some {
		e.podsByUID.enter(p, hashOf(uidOf(p)))
	}
	e.breathe()
	for _, p := range some {
		e.indexRest(p)
	}
	e.breathe()
	l.done = len(l.pods)
}

// end takes in the rest of the namespace, and all of it by name: now it is known how many they are.
func (l *loader) end() {
	if len(l.pods) == 0 {
		return
	}
	l.index()
	names := l.e.space(l.space).pods
	names.expect(len(l.pods))
	for i, p := range l.pods {
		names.enter(p, hashOf(p.name()))
		if i%loadedAtOnce == 0 {
			l.e.breathe()
		}
	}
	l.pods, l.done = l.pods[:0], 0
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
