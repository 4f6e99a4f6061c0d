package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The resources that make up the policy.
var (
	Roles               = schema.GroupResource{Group: rbacv1.GroupName, Resource: "roles"}
	RoleBindings        = schema.GroupResource{Group: rbacv1.GroupName, Resource: "rolebindings"}
	ClusterRoles        = schema.GroupResource{Group: rbacv1.GroupName, Resource: "clusterroles"}
	ClusterRoleBindings = schema.GroupResource{Group: rbacv1.GroupName, Resource: "clusterrolebindings"}
)

// Kinds of roles that a RoleRef can name.
const (
	roleKind        = "Role"
	clusterRoleKind = "ClusterRole"
)

// State is the replicated state as this package reads it.
type State interface {
	// Counts is asked with every request, so it must cost next to nothing.
	Counts() Counts
	// Policy is a picture of all tables at one moment.
	Policy() Policy
}

// Counts says how often each table has changed. Equal counts mean an equal table; whether they grow does not matter.
type Counts struct {
	Roles, RoleBindings, ClusterRoles, ClusterRoleBindings uint64
}

// Policy is the four tables at one moment.
type Policy struct {
	// Counts are those of this very picture.
	Counts                                                 Counts
	Roles, RoleBindings, ClusterRoles, ClusterRoleBindings Table
}

// Table is one resource, which no longer changes. Objects in it must not be changed.
type Table interface {
	Get(namespace, name string) (runtime.Object, bool)
	// Ascend yields objects in order of namespace and name, from (namespace, name) on, inclusive.
	Ascend(namespace, name string, yield func(namespace, name string, obj runtime.Object) bool)
}

// each yields a whole table.
func each[P runtime.Object](t Table, yield func(P)) {
	t.Ascend("", "", func(_, _ string, o runtime.Object) bool {
		yield(o.(P))
		return true
	})
}

// find reads one object of a table.
func find[P runtime.Object](t Table, namespace, name string) (found P, ok bool) {
	o, ok := t.Get(namespace, name)
	if !ok {
		return found, false
	}
	return o.(P), true
}
