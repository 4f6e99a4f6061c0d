package sched

import (
	"fmt"
	"hash/fnv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/podstatus"
)

// Table is the scheduler's view of the nodes and of what the pods on them take, as columns with
// one entry a node. It is not safe for concurrent use.
type Table struct {
	seed    uint64
	byName  map[string]int32
	free    []int32 // slots that no node and no pod uses
	present int     // nodes that exist

	// Columns. A slot without a node (nodes[i] nil) keeps the pods that name it.
	nodes []*corev1.Node
	names []string
	tie   []uint64
	alloc []room
	used  []room
	load  []load
	ports []map[hostPort]int // host ports in use and by how many pods; nil is none

	// extended resources have a column each.
	extAlloc, extUsed map[string][]int64

	pods   map[types.UID]placed
	owners map[types.UID]map[int32]int32 // pods an owner has, by slot

	// verdicts remembers the answers of static filters; a change of any node forgets them.
	verdicts map[*class]*verdict

	// sizings remembers what pods take, by what their statuses share.
	sizings map[sizing]*class

	heap   []uint64
	counts []int32
}

// room is an amount of the resources that every node has.
type room struct {
	cpuMilli, memory, ephemeral int64
	pods                        int64
}

// load is what the score counts as used.
type load struct{ cpuMilli, memory int64 }

// placed is a pod in the table.
type placed struct {
	slot  int32
	class *class
}

// NewTable makes an empty table. The seed decides between nodes of equal score.
func NewTable(seed uint64) *Table {
	return &Table{
		seed: seed, byName: map[string]int32{}, pods: map[types.UID]placed{},
		owners: map[types.UID]map[int32]int32{}, verdicts: map[*class]*verdict{},
		extAlloc: map[string][]int64{}, extUsed: map[string][]int64{}, sizings: map[sizing]*class{},
	}
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
	t.nodes[i] = n
	t.setAllocatable(i, n.Status.Allocatable)
	clear(t.verdicts)
	return true
}

// RemoveNode forgets the node; pods that name it stay accounted until they are removed.
func (t *Table) RemoveNode(name string) {
	i, ok := t.byName[name]
	if !ok || t.nodes[i] == nil {
		return
	}
	t.nodes[i] = nil
	t.present--
	t.setAllocatable(i, nil)
	clear(t.verdicts)
	t.release(i)
}

// AddPod accounts the pod on the node, as its status says what it takes there. Again for the same node it does nothing, unless the pod
// takes another amount by now; for another it moves the pod. It reports whether the pod takes less than before.
func (t *Table) AddPod(uid types.UID, node string, template *api.PodTemplate, status podstatus.Status) (freed bool) {
	c := t.sized(template, status)
	if old, ok := t.pods[uid]; ok {
		if t.names[old.slot] == node && old.class == c {
			t.pods[uid] = old // whose key are now the bytes that the caller keeps, not those of the plan
			return false
		}
		t.RemovePod(uid)
		freed = c.lessThan(old.class)
	}
	t.take(t.slot(node), uid, c)
	return freed
}

// RemovePod gives back what the pod took; an unknown pod is no error.
func (t *Table) RemovePod(uid types.UID) {
	p, ok := t.pods[uid]
	if !ok {
		return
	}
	delete(t.pods, uid)
	t.account(p.slot, p.class, -1)
	t.release(p.slot)
}

// NodeOf tells where the table has the pod; "" if it does not know it.
func (t *Table) NodeOf(uid types.UID) string {
	if p, ok := t.pods[uid]; ok {
		return t.names[p.slot]
	}
	return ""
}

func (t *Table) take(i int32, uid types.UID, c *class) {
	t.pods[uid] = placed{i, c}
	t.account(i, c, 1)
}

// account adds (sign 1) or takes away (sign -1) what a pod of the class uses in slot i.
func (t *Table) account(i int32, c *class, sign int64) {
	u := &t.used[i]
	u.cpuMilli += sign * c.cpuMilli
	u.memory += sign * c.memory
	u.ephemeral += sign * c.ephemeral
	u.pods += sign
	t.load[i].cpuMilli += sign * c.scoreCPU
	t.load[i].memory += sign * c.scoreMemory
	for _, r := range c.extended {
		t.extended(t.extUsed, r.name)[i] += sign * r.amount
	}
	for _, p := range c.ports {
		if t.ports[i] == nil {
			t.ports[i] = map[hostPort]int{}
		}
		if t.ports[i][p] += int(sign); t.ports[i][p] == 0 {
			delete(t.ports[i], p)
		}
	}
	if c.owner != "" {
		t.accountOwner(i, c.owner, int32(sign))
	}
}

func (t *Table) accountOwner(i int32, owner types.UID, sign int32) {
	on := t.owners[owner]
	if on == nil {
		on = map[int32]int32{}
		t.owners[owner] = on
	}
	if on[i] += sign; on[i] == 0 {
		delete(on, i)
	}
	if len(on) == 0 {
		delete(t.owners, owner)
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
	t.tie[i] = t.hash(name)
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
	t.nodes, t.names, t.tie = append(t.nodes, nil), append(t.names, ""), append(t.tie, 0)
	t.alloc, t.used, t.load, t.ports = append(t.alloc, room{}), append(t.used, room{}), append(t.load, load{}), append(t.ports, nil)
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
	if t.nodes[i] != nil || t.used[i].pods != 0 {
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

// samePlacement says that nothing a filter or score reads differs between two states of a node, so
// that a node's status report does not make the whole table forget its verdicts.
func samePlacement(a, b *corev1.Node) bool {
	return a.UID == b.UID && a.Spec.Unschedulable == b.Spec.Unschedulable &&
		sameStrings(a.Labels, b.Labels) && sameTaints(a.Spec.Taints, b.Spec.Taints) &&
		sameResources(a.Status.Allocatable, b.Status.Allocatable)
}

func sameStrings(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}

func sameTaints(a, b []corev1.Taint) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Key != b[i].Key || a[i].Value != b[i].Value || a[i].Effect != b[i].Effect {
			return false
		}
	}
	return true
}

func sameResources(a, b corev1.ResourceList) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v.Cmp(w) != 0 {
			return false
		}
	}
	return true
}
