package sched

import (
	"fmt"
	"hash/fnv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/podstatus"
)

// Table is the scheduler's view of the nodes and of what the pods on them take, as columns with
// one entry a node. It is not safe for concurrent use.
type Table struct {
	seed    uint64
	packs   bool
	byName  map[string]int32
	free    []int32 // slots that no node and no pod uses
	present int     // nodes that exist

	// Columns. A slot without a node (nodes[i] nil) keeps the pods that name it.
	nodes []*corev1.Node
	names []string
	alloc []room
	rows  []row
	ports []map[hostPort]int // host ports in use and by how many pods; nil is none

	// extended resources have a column each.
	extAlloc, extUsed map[string][]int64

	pods       map[types.UID]placed   // but for those whose Place somebody else keeps
	promised   map[types.UID]struct{} // those of pods that may still not come
	kinds      map[*class]*kind
	owned      map[types.UID][]*kind // by owner
	labelled   map[label]map[*kind]struct{}
	priorities map[int32]int // kinds by priority

	censuses   map[censusID]*census
	choosers   map[label]map[*census]struct{} // by anchor
	feelings   int                            // censuses that count who asks
	spaces     map[string]labels.Set          // namespaces
	topologies map[string]*topology
	images     map[string]map[int32]int64 // bytes by name and slot

	// sizings remembers what pods take, by what their statuses share.
	sizings  map[sizing]*class
	verdicts verdicts
	tops     tops
	scratch  scratch
}

// placed is a pod in the table.
type placed struct {
	slot    int32
	leaving bool // it is being deleted
	*kind
}

// Strategy is how scores choose between nodes that fit.
type Strategy string

// Strategies. The first spreads pods, the second keeps nodes free.
const (
	LeastAllocated Strategy = "least-allocated"
	MostAllocated  Strategy = "most-allocated"
)

// Known says whether it is a strategy; "" stands for the default.
func (s Strategy) Known() bool { return s == "" || s == LeastAllocated || s == MostAllocated }

// NewTable makes an empty table. The seed decides between nodes of equal score. Strategy "" is LeastAllocated.
func NewTable(seed uint64, strategy Strategy) *Table {
	t := &Table{
		seed: seed, packs: strategy == MostAllocated, byName: map[string]int32{}, pods: map[types.UID]placed{}, promised: map[types.UID]struct{}{},
		extAlloc: map[string][]int64{}, extUsed: map[string][]int64{}, kinds: map[*class]*kind{}, owned: map[types.UID][]*kind{},
		labelled: map[label]map[*kind]struct{}{}, priorities: map[int32]int{}, censuses: map[censusID]*census{},
		choosers: map[label]map[*census]struct{}{}, spaces: map[string]labels.Set{}, topologies: map[string]*topology{},
		images: map[string]map[int32]int64{}, verdicts: newVerdicts(), sizings: map[sizing]*class{},
	}
	t.needTopology(corev1.LabelTopologyZone)
	return t
}

// Nodes is how many nodes there are.
func (t *Table) Nodes() int { return t.present }

// SetNode adds the node or replaces what is known of it. The table keeps n and only reads it.
// It reports whether anything that matters for placement is different now.
func (t *Table) SetNode(n *corev1.Node) (changed bool) {
	i := t.slot(n.Name)
	old := t.nodes[i]
	if old == nil {
		t.present++
	} else if samePlacement(old, n) {
		t.nodes[i] = n
		return false
	}
	t.describe(i, n)
	return true
}

// RemoveNode forgets the node; pods that name it stay accounted until they are removed.
func (t *Table) RemoveNode(name string) {
	i, ok := t.byName[name]
	if !ok || t.nodes[i] == nil {
		return
	}
	t.present--
	t.describe(i, nil)
	t.release(i)
}

// describe takes over what the node says of itself; nil is that there is none.
func (t *Table) describe(i int32, n *corev1.Node) {
	old := t.nodes[i]
	t.nodes[i] = n
	for _, p := range t.topologies {
		p.set(i, n, old)
	}
	var list corev1.ResourceList
	if n != nil {
		list = n.Status.Allocatable
	}
	t.setAllocatable(i, list)
	t.setImages(i, old, n)
	t.verdicts.changed(t, i)
}

// AddPod accounts the pod on the node, as its status says what it takes there. Again for the same node it does nothing, unless the pod
// takes another amount by now; for another it moves the pod. It reports whether the pod takes less than before.
func (t *Table) AddPod(uid types.UID, node string, template *api.PodTemplate, status podstatus.Status) (freed bool) {
	at := t.pods[uid]
	freed, moved := t.settle(&at, node, template, status)
	if moved {
		t.pods[uid] = at
	}
	return freed
}

// Leaving notes that a pod is being deleted: it takes its room to its end, but is not there to spread from. It
// reports whether that is new.
func (t *Table) Leaving(uid types.UID) (changed bool) {
	at, ok := t.pods[uid]
	if !ok || !t.turn(&at, true) {
		return false
	}
	t.pods[uid] = at
	return true
}

// RemovePod gives back what the pod took; an unknown pod is no error.
func (t *Table) RemovePod(uid types.UID) {
	if at, ok := t.pods[uid]; ok {
		delete(t.pods, uid)
		delete(t.promised, uid)
		t.vacate(at)
	}
}

// NodeOf tells where the table has the pod; "" if it does not know it.
func (t *Table) NodeOf(uid types.UID) string {
	if p, ok := t.pods[uid]; ok {
		return t.names[p.slot]
	}
	return ""
}

func (t *Table) take(i int32, uid types.UID, k *kind) {
	t.pods[uid] = placed{slot: i, kind: k}
	t.account(i, k, 1, false)
}

// settle brings what is accounted for a pod up to date, and says whether anything has changed, and whether the pod takes less.
func (t *Table) settle(at *placed, node string, template *api.PodTemplate, status podstatus.Status) (freed, moved bool) {
	c := t.sized(template, status)
	if at.kind != nil {
		if at.class == c && t.names[at.slot] == node {
			return false, false
		}
		freed = c.lessThan(at.class)
		t.vacate(*at)
	}
	k := t.kindOf(c)
	*at = placed{slot: t.slot(node), kind: k}
	t.account(at.slot, k, 1, false)
	return freed, true
}

// turn notes that a pod leaves, or that it does not after all.
func (t *Table) turn(at *placed, leaving bool) (changed bool) {
	if at.leaving == leaving {
		return false
	}
	at.leaving = leaving
	n := int32(1)
	if !leaving {
		n = -1
	}
	at.kind.leaving.add(at.slot, n)
	for _, h := range at.shares {
		if h.id.role == living {
			h.on.add(at.slot, -n*h.weight)
		}
	}
	return true
}

func (t *Table) vacate(at placed) {
	t.account(at.slot, at.kind, -1, at.leaving)
	t.release(at.slot)
	t.endIfEmpty(at.kind)
}

// account adds (n 1) or takes away (n -1) what a pod of the kind uses and counts for in slot i.
func (t *Table) account(i int32, k *kind, n int32, leaving bool) {
	t.occupy(i, k.class, n)
	k.pods += n
	k.on.add(i, n)
	if leaving {
		k.leaving.add(i, n)
	}
	for _, h := range k.shares {
		if !leaving || h.id.role != living {
			h.on.add(i, n*h.weight)
		}
	}
}

// occupy adds or takes away what a pod of the class uses.
func (t *Table) occupy(i int32, c *class, n int32) {
	t.rows[i].add(c, int64(n))
	t.tops.touch(i)
	for _, r := range c.extended {
		t.extended(t.extUsed, r.name)[i] += int64(n) * r.amount
	}
	for _, p := range c.ports {
		if t.ports[i] == nil {
			t.ports[i] = map[hostPort]int{}
		}
		if t.ports[i][p] += int(n); t.ports[i][p] == 0 {
			delete(t.ports[i], p)
		}
	}
}

// slot finds or makes the node's place in the columns.
func (t *Table) slot(name string) int32 {
	if i, ok := t.byName[name]; ok {
		return i
	}
	i := t.newSlot()
	t.byName[name] = i
	t.names[i] = name
	t.rows[i].tie = uint32(t.hash(name) >> (64 - keyTieBits))
	t.tops.touch(i)
	return i
}

func (t *Table) newSlot() int32 {
	if n := len(t.free); n > 0 {
		i := t.free[n-1]
		t.free = t.free[:n-1]
		return i
	}
	if len(t.nodes) == nodesMax {
		panic(fmt.Sprintf("sched: more than %d nodes", nodesMax))
	}
	t.nodes, t.names = append(t.nodes, nil), append(t.names, "")
	t.alloc, t.rows, t.ports = append(t.alloc, room{}), append(t.rows, row{}), append(t.ports, nil)
	for _, p := range t.topologies {
		p.set(int32(len(t.nodes)-1), nil, nil)
	}
	for name := range t.extAlloc {
		t.extAlloc[name] = append(t.extAlloc[name], 0)
	}
	for name := range t.extUsed {
		t.extUsed[name] = append(t.extUsed[name], 0)
	}
	return int32(len(t.nodes) - 1)
}

// release frees a slot that has neither node nor pods.
func (t *Table) release(i int32) {
	if t.nodes[i] != nil || int64(t.rows[i].pods) != t.alloc[i].pods {
		return
	}
	delete(t.byName, t.names[i])
	t.names[i] = ""
	t.free = append(t.free, i)
}

func (t *Table) hash(name string) uint64 {
	h := fnv.New64a()
	var b [8]byte
	for i := range b {
		b[i] = byte(t.seed >> (8 * i))
	}
	h.Write(b[:])
	h.Write([]byte(name))
	return h.Sum64()
}

func (t *Table) setAllocatable(i int32, list corev1.ResourceList) {
	for _, column := range t.extAlloc {
		column[i] = 0
	}
	was := t.alloc[i]
	t.alloc[i] = room{}
	for name, q := range list {
		switch name {
		case corev1.ResourceCPU:
			t.alloc[i].cpuMilli = q.MilliValue()
		case corev1.ResourceMemory:
			t.alloc[i].memory = q.Value()
		case corev1.ResourceEphemeralStorage:
			t.alloc[i].ephemeral = q.Value()
		case corev1.ResourcePods:
			t.alloc[i].pods = q.Value()
		default:
			t.extended(t.extAlloc, string(name))[i] = q.Value()
		}
	}
	t.rows[i].allocate(&was, &t.alloc[i])
	t.tops.touch(i)
}

// extended finds or makes the column of an extended resource.
func (t *Table) extended(columns map[string][]int64, name string) []int64 {
	c := columns[name]
	if c == nil {
		c = make([]int64, len(t.nodes))
		columns[name] = c
	}
	return c
}
