package api

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func init() {
	Register(&Kind{
		GroupVersion: corev1.SchemeGroupVersion,
		Name:         "ServiceAccount", Resource: "serviceaccounts", Singular: "serviceaccount", ShortNames: []string{"sa"},
		New:              func() runtime.Object { return &corev1.ServiceAccount{} },
		NewList:          func() runtime.Object { return &corev1.ServiceAccountList{} },
		PrepareForCreate: with(nameSecretsOnly),
		PrepareForUpdate: withOld(func(s, _ *corev1.ServiceAccount) { nameSecretsOnly(s) }),
		ValidateName:     validation.ValidateServiceAccountName,
		Columns:          []metav1.TableColumnDefinition{nameColumn, ageColumn},
		Row: row(func(s *corev1.ServiceAccount, now time.Time) []any {
			return []any{s.Name, age(s.CreationTimestamp, now)}
		}),
	})
}

// nameSecretsOnly: secrets are of the account's own namespace, so their names say all.
func nameSecretsOnly(s *corev1.ServiceAccount) {
	for i, secret := range s.Secrets {
		s.Secrets[i] = corev1.ObjectReference{Name: secret.Name}
	}
}
