package fsm

import (
	"strings"

	"github.com/google/btree"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/peapod-sh/peapod/api"
)

// item is one stored object: obj for most kinds, pod for pods. Both are immutable.
type item struct {
	key      string // namespace NUL name
	revision uint64
	obj      runtime.Object
	pod      *api.PodRecord
}

func less(a, b item) bool { return a.key < b.key }

// tree degree 32 was the best of those measured for 150,000 entries.
const treeDegree = 32

// noItems is what is read of a resource that never had any. Nobody writes to it.
var noItems = btree.NewG(treeDegree, less)

// table is one resource. frozen is the clone that readers of the present state share; a write drops it.
type table struct {
	resource schema.GroupResource
	items    *btree.BTreeG[item]
	frozen   *btree.BTreeG[item]
	ring     *ring
	departed departures
}

func newTable(gr schema.GroupResource, revision uint64) *table {
	return &table{resource: gr, items: btree.NewG(treeDegree, less), ring: newRing(revision), departed: departures{floor: revision}}
}

func (t *table) get(key string) (item, bool) { return t.items.Get(item{key: key}) }

func (t *table) set(it item) {
	t.frozen = nil
	t.items.ReplaceOrInsert(it)
}

func (t *table) drop(key string) {
	t.frozen = nil
	t.items.Delete(item{key: key})
}

// freeze gives an immutable picture. It clones once for all readers between two writes.
func (t *table) freeze() *btree.BTreeG[item] {
	if t.frozen == nil {
		t.frozen = t.items.Clone()
	}
	return t.frozen
}

func makeKey(namespace, name string) string { return namespace + "\x00" + name }

func splitKey(key string) (namespace, name string) {
	namespace, name, _ = strings.Cut(key, "\x00")
	return namespace, name
}
