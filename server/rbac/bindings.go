package rbac

import (
	"fmt"
	"sync"
	"sync/atomic"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
)

// role is the rules of a role, compiled when they are first asked.
type role struct {
	rules    []rbacv1.PolicyRule
	once     sync.Once
	compiled *compiled
}

func (r *role) allow(q *request) bool {
	r.once.Do(func() { r.compiled = compile(r.rules) })
	return r.compiled.allow(q)
}

// roleFinder gives the role that a reference means, or says why there is none.
type roleFinder func(ref *rbacv1.RoleRef) (*role, error)

// noRole is the error for a reference to a role that is not there.
func noRole(singular, name string) error {
	return apierrors.NewNotFound(schema.GroupResource{Group: rbacv1.GroupName, Resource: singular}, name)
}

// binding is a RoleBinding or a ClusterRoleBinding, with its role.
type binding struct {
	order int // among those of its table; earlier ones are asked first
	kind  string
	meta  *metav1.ObjectMeta
	ref   *rbacv1.RoleRef
	// role is nil if missing is not.
	role    *role
	missing error
}

// grant is what a binding gives to one of its subjects.
type grant struct {
	*binding
	subject *rbacv1.Subject
	// text is the reason, made when first given.
	text atomic.Pointer[string]
}

// bindings are those of the cluster or of one namespace, by whom they mean.
type bindings struct {
	users, groups map[string][]*grant
	count         int
	incomplete    bool // a role is missing
}

func newBindings() *bindings {
	return &bindings{users: map[string][]*grant{}, groups: map[string][]*grant{}}
}

func (x *bindings) add(kind string, meta *metav1.ObjectMeta, ref *rbacv1.RoleRef, subjects []rbacv1.Subject, find roleFinder) {
	b := &binding{order: x.count, kind: kind, meta: meta, ref: ref}
	x.count++
	b.role, b.missing = find(ref)
	x.incomplete = x.incomplete || b.missing != nil
	for i := range subjects {
		s := &subjects[i]
		g := &grant{binding: b, subject: s}
		switch s.Kind {
		case rbacv1.UserKind:
			x.users[s.Name] = append(x.users[s.Name], g)
		case rbacv1.GroupKind:
			x.groups[s.Name] = append(x.groups[s.Name], g)
		case rbacv1.ServiceAccountKind:
			if ns := g.accountNamespace(); ns != "" {
				name := serviceaccount.MakeUsername(ns, s.Name)
				x.users[name] = append(x.users[name], g)
			}
		}
	}
}

// accountNamespace is where a subject's account lives: beside the binding, unless it says otherwise.
func (g *grant) accountNamespace() string {
	if g.subject.Namespace != "" {
		return g.subject.Namespace
	}
	return g.meta.Namespace
}

// allow finds a grant that allows a request of the user; nil if there is none.
func (x *bindings) allow(u user.Info, r *request) *grant {
	if g := anyGrants(x.users[u.GetName()], r); g != nil {
		return g
	}
	for _, name := range u.GetGroups() {
		if g := anyGrants(x.groups[name], r); g != nil {
			return g
		}
	}
	return nil
}

func anyGrants(list []*grant, r *request) *grant {
	for _, g := range list {
		if g.role != nil && g.role.allow(r) {
			return g
		}
	}
	return nil
}

// of lists the bindings that mean the user, in no order, each as often as it means him.
func (x *bindings) of(u user.Info) []*binding {
	var out []*binding
	for _, g := range x.users[u.GetName()] {
		out = append(out, g.binding)
	}
	for _, name := range u.GetGroups() {
		for _, g := range x.groups[name] {
			out = append(out, g.binding)
		}
	}
	return out
}

// reason says by which grant a request was allowed.
func (g *grant) reason() string {
	if p := g.text.Load(); p != nil {
		return *p
	}
	// Objects of a namespace are named name/namespace here, and nowhere else in Kubernetes.
	name, subject := g.meta.Name, g.subject.Name
	if g.meta.Namespace != "" {
		name += "/" + g.meta.Namespace
	}
	if g.subject.Kind == rbacv1.ServiceAccountKind {
		subject += "/" + g.accountNamespace()
	}
	text := fmt.Sprintf("RBAC: allowed by %s %q of %s %q to %s %q", g.kind, name, g.ref.Kind, g.ref.Name, g.subject.Kind, subject)
	g.text.Store(&text)
	return text
}
