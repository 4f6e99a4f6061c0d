package rbac

import (
	"cmp"
	"maps"
	"slices"
	"sync/atomic"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/fsm"
)

// memoryTable is a table that is replaced, never changed, by a write.
type memoryTable map[types.NamespacedName]runtime.Object

func (t memoryTable) Get(namespace, name string) (runtime.Object, bool) {
	o, ok := t[types.NamespacedName{Namespace: namespace, Name: name}]
	return o, ok
}

func (t memoryTable) Ascend(namespace, name string, yield func(namespace, name string, obj runtime.Object) bool) {
	order := func(a, b types.NamespacedName) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	}
	for _, k := range slices.SortedFunc(maps.Keys(t), order) {
		if order(k, types.NamespacedName{Namespace: namespace, Name: name}) >= 0 && !yield(k.Namespace, k.Name, t[k]) {
			return
		}
	}
}

// memory is a State for tests. Writes come from one goroutine.
type memory struct{ policy atomic.Pointer[Policy] }

func newMemory(objects ...runtime.Object) *memory {
	m := &memory{}
	m.policy.Store(&Policy{Roles: memoryTable{}, RoleBindings: memoryTable{}, ClusterRoles: memoryTable{}, ClusterRoleBindings: memoryTable{}})
	for _, o := range objects {
		m.put(o)
	}
	return m
}

func (m *memory) Counts() Counts { return m.policy.Load().Counts }
func (m *memory) Policy() Policy { return *m.policy.Load() }

// edit changes the table that an object belongs to.
func (m *memory) edit(o runtime.Object, change func(memoryTable, types.NamespacedName)) {
	p := *m.policy.Load()
	table, count := &p.Roles, &p.Counts.Roles
	switch o.(type) {
	case *rbacv1.RoleBinding:
		table, count = &p.RoleBindings, &p.Counts.RoleBindings
	case *rbacv1.ClusterRole:
		table, count = &p.ClusterRoles, &p.Counts.ClusterRoles
	case *rbacv1.ClusterRoleBinding:
		table, count = &p.ClusterRoleBindings, &p.Counts.ClusterRoleBindings
	}
	next := maps.Clone((*table).(memoryTable))
	change(next, keyOf(o))
	*table = next
	*count++
	m.policy.Store(&p)
}

func keyOf(o runtime.Object) types.NamespacedName {
	a := o.(metav1.Object)
	return types.NamespacedName{Namespace: a.GetNamespace(), Name: a.GetName()}
}

func (m *memory) put(o runtime.Object) {
	m.edit(o, func(t memoryTable, k types.NamespacedName) { t[k] = o })
}

func (m *memory) remove(o runtime.Object) {
	m.edit(o, func(t memoryTable, k types.NamespacedName) { delete(t, k) })
}

// write does what Reconcile asks for.
func (m *memory) write(list []Write) {
	for _, w := range list {
		m.put(w.Object)
	}
}

// replicated is the State that a server makes of the replicated state: it is here to show that the two fit.
type replicated struct {
	state                                      *fsm.FSM
	roles, bindings, clusterRoles, clusterBind func() uint64
}

func newReplicated(f *fsm.FSM) replicated {
	return replicated{f, f.Changes(Roles), f.Changes(RoleBindings), f.Changes(ClusterRoles), f.Changes(ClusterRoleBindings)}
}

func (r replicated) Counts() Counts {
	return Counts{r.roles(), r.bindings(), r.clusterRoles(), r.clusterBind()}
}

func (r replicated) Policy() Policy {
	t, n := r.state.Tables(Roles, RoleBindings, ClusterRoles, ClusterRoleBindings)
	return Policy{Counts{n[0], n[1], n[2], n[3]}, t[0], t[1], t[2], t[3]}
}

func apply(f *fsm.FSM, gr schema.GroupResource, o runtime.Object) {
	f.ApplyOps(f.Index()+1, []ops.Op{&ops.Put{Resource: gr, Object: o, Expect: ops.Any}})
}

func TestOverTheReplicatedState(t *testing.T) {
	f := fsm.New()
	a := New(newReplicated(f))
	ask := resourceRequest("anna", "get", "", "pods", "default", "")
	checkDenied(t, a, ask, "")
	apply(f, RoleBindings, bindIn("default", "b", "ClusterRole", "reader", userSubject("anna")))
	checkDenied(t, a, ask, `RBAC: clusterrole.rbac.authorization.k8s.io "reader" not found`)
	apply(f, ClusterRoles, clusterRole("reader", rule("get", core, "pods")))
	checkAllowed(t, a, ask, `RBAC: allowed by RoleBinding "b/default" of ClusterRole "reader" to User "anna"`)
	apply(f, ClusterRoles, clusterRole("reader", rule("list", core, "pods")))
	checkDenied(t, a, ask, "")
}
