package rbac

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
)

// picture is the policy at one moment, arranged by whom it means.
type picture struct {
	policy  Policy
	cluster *clusterPart

	mu sync.RWMutex
	// namespaces is guarded by mu. A namespace comes into it when it is first asked about, and only if it has a binding:
	// requests can name any number of namespaces that do not exist.
	namespaces map[string]*bindings
}

// clusterPart is what the two tables without namespaces say. It is kept while only the other two change.
type clusterPart struct {
	roles    map[string]*role
	bindings *bindings
}

// newPicture arranges a policy; before, which may be nil, is the picture that it replaces.
func newPicture(p Policy, before *picture) *picture {
	x := &picture{policy: p, namespaces: map[string]*bindings{}}
	if before != nil && before.policy.Counts.ClusterRoles == p.Counts.ClusterRoles &&
		before.policy.Counts.ClusterRoleBindings == p.Counts.ClusterRoleBindings {
		x.cluster = before.cluster
		return x
	}
	x.cluster = &clusterPart{roles: map[string]*role{}, bindings: newBindings()}
	each(p.ClusterRoles, func(r *rbacv1.ClusterRole) { x.cluster.roles[r.Name] = &role{rules: r.Rules} })
	each(p.ClusterRoleBindings, func(b *rbacv1.ClusterRoleBinding) {
		x.cluster.bindings.add("ClusterRoleBinding", &b.ObjectMeta, &b.RoleRef, b.Subjects, x.finder(""))
	})
	return x
}

// finder gives the roles that bindings of a namespace may name; "" is for those of the cluster. It keeps roles of the namespace
// for as long as it is kept itself, so that two bindings of one role share what is compiled.
func (x *picture) finder(namespace string) roleFinder {
	own := map[string]*role{}
	return func(ref *rbacv1.RoleRef) (*role, error) {
		switch ref.Kind {
		case clusterRoleKind:
			if r, ok := x.cluster.roles[ref.Name]; ok {
				return r, nil
			}
			return nil, noRole("clusterrole", ref.Name)
		case roleKind:
			if r, ok := own[ref.Name]; ok {
				return r, nil
			}
			r, ok := find[*rbacv1.Role](x.policy.Roles, namespace, ref.Name)
			if !ok {
				return nil, noRole("role", ref.Name)
			}
			own[ref.Name] = &role{rules: r.Rules}
			return own[ref.Name], nil
		}
		return nil, fmt.Errorf("unsupported role reference kind: %q", ref.Kind)
	}
}

// namespace gives the bindings of one namespace.
func (x *picture) namespace(name string) *bindings {
	x.mu.RLock()
	b, ok := x.namespaces[name]
	x.mu.RUnlock()
	if ok {
		return b
	}
	b = x.arrange(name)
	if b.count == 0 {
		return b
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if first, ok := x.namespaces[name]; ok {
		return first
	}
	x.namespaces[name] = b
	return b
}

func (x *picture) arrange(namespace string) *bindings {
	b, roles := newBindings(), x.finder(namespace)
	x.policy.RoleBindings.Ascend(namespace, "", func(ns, _ string, o runtime.Object) bool {
		if ns != namespace {
			return false
		}
		rb := o.(*rbacv1.RoleBinding)
		b.add("RoleBinding", &rb.ObjectMeta, &rb.RoleRef, rb.Subjects, roles)
		return true
	})
	return b
}

// allow finds a grant that allows a request of the user in a namespace, "" for none; nil if there is none.
func (x *picture) allow(u user.Info, namespace string, r *request) *grant {
	if g := x.cluster.bindings.allow(u, r); g != nil || namespace == "" {
		return g
	}
	return x.namespace(namespace).allow(u, r)
}

// of lists the bindings that mean the user in a namespace, those of the cluster first, each table in its order.
func (x *picture) of(u user.Info, namespace string) []*binding {
	list := inOrder(x.cluster.bindings.of(u))
	if namespace != "" {
		list = append(list, inOrder(x.namespace(namespace).of(u))...)
	}
	return list
}

// inOrder sorts bindings of one table and drops those that are there again.
func inOrder(list []*binding) []*binding {
	slices.SortFunc(list, func(a, b *binding) int { return cmp.Compare(a.order, b.order) })
	return slices.Compact(list)
}

// incomplete says whether a role is missing to bindings that may mean users in a namespace.
func (x *picture) incomplete(namespace string) bool {
	return x.cluster.bindings.incomplete || namespace != "" && x.namespace(namespace).incomplete
}

// rulesOf lists the rules of a user in a namespace; the errors are about roles that are missing.
func (x *picture) rulesOf(u user.Info, namespace string) (rules []rbacv1.PolicyRule, missing []error) {
	for _, b := range x.of(u, namespace) {
		if b.missing != nil {
			missing = append(missing, b.missing)
			continue
		}
		rules = append(rules, b.role.rules...)
	}
	return rules, missing
}
