package api

import (
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func init() {
	Register(&Kind{
		GroupVersion: rbacv1.SchemeGroupVersion,
		Name:         "RoleBinding", Resource: "rolebindings", Singular: "rolebinding",
		New:            func() runtime.Object { return &rbacv1.RoleBinding{} },
		NewList:        func() runtime.Object { return &rbacv1.RoleBindingList{} },
		Default:        with(func(b *rbacv1.RoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) }),
		Validate:       check(validateRoleBinding),
		ValidateUpdate: checkOld(validateRoleBindingUpdate),
		ValidateName:   validateRoleName,
		Columns:        bindingColumns(),
		Row: row(func(b *rbacv1.RoleBinding, now time.Time) []any {
			return bindingCells(&b.ObjectMeta, &b.RoleRef, b.Subjects, now)
		}),
		CreateOnUpdate: true,
	})
	Register(&Kind{
		GroupVersion: rbacv1.SchemeGroupVersion,
		Name:         "ClusterRoleBinding", Resource: "clusterrolebindings", Singular: "clusterrolebinding",
		ClusterScoped:  true,
		New:            func() runtime.Object { return &rbacv1.ClusterRoleBinding{} },
		NewList:        func() runtime.Object { return &rbacv1.ClusterRoleBindingList{} },
		Default:        with(func(b *rbacv1.ClusterRoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) }),
		Validate:       check(validateClusterRoleBinding),
		ValidateUpdate: checkOld(validateClusterRoleBindingUpdate),
		ValidateName:   validateRoleName,
		Columns:        bindingColumns(),
		Row: row(func(b *rbacv1.ClusterRoleBinding, now time.Time) []any {
			return bindingCells(&b.ObjectMeta, &b.RoleRef, b.Subjects, now)
		}),
		CreateOnUpdate: true,
	})
}

// defaultBinding names the groups that a user hardly ever writes: there is only one for each kind.
func defaultBinding(ref *rbacv1.RoleRef, subjects []rbacv1.Subject) {
	fill(&ref.APIGroup, rbacv1.GroupName)
	for i := range subjects {
		if s := &subjects[i]; s.Kind == rbacv1.UserKind || s.Kind == rbacv1.GroupKind {
			fill(&s.APIGroup, rbacv1.GroupName)
		}
	}
}

func bindingColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		nameColumn, textColumn("Role", "The role that is given, as kind/name."), ageColumn,
		wide(textColumn("Users", "The users who are given the role.")),
		wide(textColumn("Groups", "The groups whose members are given the role.")),
		wide(textColumn("ServiceAccounts", "The service accounts that are given the role, as namespace/name.")),
	}
}

// bindingCells are the cells of bindingColumns.
func bindingCells(m *metav1.ObjectMeta, ref *rbacv1.RoleRef, subjects []rbacv1.Subject, now time.Time) []any {
	var users, groups, accounts []string
	for _, s := range subjects {
		switch s.Kind {
		case rbacv1.UserKind:
			users = append(users, s.Name)
		case rbacv1.GroupKind:
			groups = append(groups, s.Name)
		case rbacv1.ServiceAccountKind:
			accounts = append(accounts, s.Namespace+"/"+s.Name)
		}
	}
	return []any{m.Name, ref.Kind + "/" + ref.Name, age(m.CreationTimestamp, now),
		strings.Join(users, ", "), strings.Join(groups, ", "), strings.Join(accounts, ", ")}
}
