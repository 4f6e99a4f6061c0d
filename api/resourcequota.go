package api

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func init() {
	Register(&Kind{
		GroupVersion: corev1.SchemeGroupVersion,
		Name:         "ResourceQuota", Resource: "resourcequotas", Singular: "resourcequota", ShortNames: []string{"quota"},
		New:                  func() runtime.Object { return &corev1.ResourceQuota{} },
		NewList:              func() runtime.Object { return &corev1.ResourceQuotaList{} },
		Default:              with(defaultResourceQuota),
		Validate:             check(validateResourceQuota),
		ValidateUpdate:       checkOld(validateResourceQuotaUpdate),
		ValidateStatusUpdate: checkOld(validateResourceQuotaStatusUpdate),
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			textColumn("Request", "What is used, of how much, of all but limits."),
			textColumn("Limit", "How much limits sum up to, and may."),
			ageColumn,
		},
		Row:       row(resourceQuotaRow),
		HasStatus: true,
	})
}

func defaultResourceQuota(q *corev1.ResourceQuota) {
	roundUp(q.Spec.Hard)
	roundUp(q.Status.Hard)
	roundUp(q.Status.Used)
}

// resourceQuotaRow shows used/hard for each resource; limits have a column of their own.
func resourceQuotaRow(q *corev1.ResourceQuota, now time.Time) []any {
	var requests, limits []string
	for _, name := range sortedKeys(q.Status.Hard) {
		used, hard := q.Status.Used[name], q.Status.Hard[name]
		text := fmt.Sprintf("%s: %s/%s", name, used.String(), hard.String())
		if strings.HasPrefix(string(name), "limits.") {
			limits = append(limits, text)
		} else {
			requests = append(requests, text)
		}
	}
	return []any{q.Name, strings.Join(requests, ", "), strings.Join(limits, ", "), age(q.CreationTimestamp, now)}
}
