package api

import (
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: rbacv1.SchemeGroupVersion,
		Name:         "Role", Resource: "roles", Singular: "role",
		New:            func() runtime.Object { return &rbacv1.Role{} },
		NewList:        func() runtime.Object { return &rbacv1.RoleList{} },
		Validate:       check(validateRole),
		ValidateUpdate: checkOld(func(r, _ *rbacv1.Role) field.ErrorList { return validateRole(r) }),
		ValidateName:   validateRoleName,
		Columns:        roleColumns(),
		Row:            row(func(r *rbacv1.Role, _ time.Time) []any { return roleCells(&r.ObjectMeta) }),
		CreateOnUpdate: true,
	})
	Register(&Kind{
		GroupVersion: rbacv1.SchemeGroupVersion,
		Name:         "ClusterRole", Resource: "clusterroles", Singular: "clusterrole",
		ClusterScoped:  true,
		New:            func() runtime.Object { return &rbacv1.ClusterRole{} },
		NewList:        func() runtime.Object { return &rbacv1.ClusterRoleList{} },
		Validate:       check(validateClusterRole),
		ValidateUpdate: checkOld(func(r, _ *rbacv1.ClusterRole) field.ErrorList { return validateClusterRole(r) }),
		ValidateName:   validateRoleName,
		Columns:        roleColumns(),
		Row:            row(func(r *rbacv1.ClusterRole, _ time.Time) []any { return roleCells(&r.ObjectMeta) }),
		CreateOnUpdate: true,
	})
}

// roleColumns are those of both kinds of roles: what matters of them, the rules, does not fit into a cell.
func roleColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{nameColumn, createdColumn}
}

// roleCells are the cells of roleColumns.
func roleCells(m *metav1.ObjectMeta) []any {
	return []any{m.Name, created(m.CreationTimestamp)}
}
