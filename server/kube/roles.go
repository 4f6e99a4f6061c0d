package kube

import (
	"context"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/peapod-sh/peapod/server/rbac"
)

// policy is the storage of a role or a binding: nobody may grant by it what he does not have.
type policy struct {
	resource
	guard *rbac.Guard
}

func (s *Server) newPolicy(r resource) rest.Storage {
	if s.guard == nil {
		return r
	}
	return policy{r, s.guard}
}

func (p policy) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, o *metav1.CreateOptions) (runtime.Object, error) {
	if err := p.check(ctx, obj, nil); err != nil {
		return nil, err
	}
	return p.resource.Create(ctx, obj, validate, o)
}

// Update checks the object as it will be, also one that the update creates.
func (p policy) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, force bool, o *metav1.UpdateOptions) (runtime.Object, bool, error) {
	checked := rest.WrapUpdatedObjectInfo(info, func(ctx context.Context, obj, old runtime.Object) (runtime.Object, error) {
		if accessor(old).GetUID() == "" { // there is none
			old = nil
		}
		return obj, p.check(ctx, obj, old)
	})
	return p.resource.Update(ctx, name, checked, create, update, force, o)
}

// check asks the guard; old is nil for a new object.
func (p policy) check(ctx context.Context, obj, old runtime.Object) error {
	w := rbac.Writer{Namespace: request.NamespaceValue(ctx)}
	w.User, _ = request.UserFrom(ctx)
	if info, ok := request.RequestInfoFrom(ctx); ok {
		w.Name = info.Name
	}
	switch o := obj.(type) {
	case *rbacv1.Role:
		return p.guard.Role(ctx, w, o, as[*rbacv1.Role](old))
	case *rbacv1.ClusterRole:
		return p.guard.ClusterRole(ctx, w, o, as[*rbacv1.ClusterRole](old))
	case *rbacv1.RoleBinding:
		return p.guard.RoleBinding(ctx, w, o, as[*rbacv1.RoleBinding](old))
	case *rbacv1.ClusterRoleBinding:
		return p.guard.ClusterRoleBinding(ctx, w, o, as[*rbacv1.ClusterRoleBinding](old))
	}
	return nil
}

// as is an object of a type, or nil.
func as[T runtime.Object](o runtime.Object) T {
	t, _ := o.(T)
	return t
}
