package api

import (
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
)

func init() {
	Register(&Kind{
		GroupVersion: appsv1.SchemeGroupVersion,
		Name:         "ReplicaSet", Resource: "replicasets", Singular: "replicaset",
		ShortNames: []string{"rs"}, Categories: []string{"all"},
		New:     func() runtime.Object { return &appsv1.ReplicaSet{} },
		NewList: func() runtime.Object { return &appsv1.ReplicaSetList{} },
		Default: with(func(r *appsv1.ReplicaSet) {
			fillPtr(&r.Spec.Replicas, 1)
			defaultPodSpec(&r.Spec.Template.Spec)
		}),
		PrepareForCreate: with(func(r *appsv1.ReplicaSet) { dropDisabledPodFields(&r.Spec.Template.Spec, nil) }),
		PrepareForUpdate: withOld(func(r, old *appsv1.ReplicaSet) {
			dropDisabledPodFields(&r.Spec.Template.Spec, &old.Spec.Template.Spec)
		}),
		Validate:             check(validateReplicaSet),
		ValidateUpdate:       checkOld(keepAddresses(validateReplicaSetUpdate)),
		ValidateStatusUpdate: checkOld(validateReplicaSetStatus),
		Warnings: warnings(func(r *appsv1.ReplicaSet, isNew bool) []string {
			return templateWarnings(r.Name, &r.Spec.Template, isNew)
		}),
		Columns: append([]metav1.TableColumnDefinition{
			nameColumn,
			numberColumn("Desired", "How many pods are wanted."),
			numberColumn("Current", "How many pods there are."),
			numberColumn("Ready", "How many pods are ready."),
			ageColumn,
		}, templateColumns()...),
		Row: row(func(r *appsv1.ReplicaSet, now time.Time) []any {
			return append([]any{
				r.Name, int64(valueOf(r.Spec.Replicas)), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas),
				age(r.CreationTimestamp, now),
			}, templateCells(&r.Spec.Template.Spec, r.Spec.Selector)...)
		}),
		FieldLabels: []string{"status.replicas"},
		Fields: selectable(func(r *appsv1.ReplicaSet) fields.Set {
			return fields.Set{"status.replicas": strconv.Itoa(int(r.Status.Replicas))}
		}),
		HasStatus:     true,
		HasGeneration: true,
		Scale: &ScaleAccess{
			Get: func(o runtime.Object) (spec, status int32, selector string) {
				r := o.(*appsv1.ReplicaSet)
				return valueOf(r.Spec.Replicas), r.Status.Replicas, selectorText(r.Spec.Selector)
			},
			Set: func(o runtime.Object, replicas int32) { o.(*appsv1.ReplicaSet).Spec.Replicas = &replicas },
		},
	})
}
