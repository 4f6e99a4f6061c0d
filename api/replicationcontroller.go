package api

import (
	"maps"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: corev1.SchemeGroupVersion,
		Name:         "ReplicationController", Resource: "replicationcontrollers", Singular: "replicationcontroller",
		ShortNames: []string{"rc"}, Categories: []string{"all"},
		New:            func() runtime.Object { return &corev1.ReplicationController{} },
		NewList:        func() runtime.Object { return &corev1.ReplicationControllerList{} },
		Default:        with(defaultReplicationController),
		Validate:       check(validateReplicationController),
		ValidateUpdate: checkOld(keepAddresses(func(r, _ *corev1.ReplicationController) field.ErrorList { return validateReplicationController(r) })),
		ValidateStatusUpdate: checkOld(func(r, _ *corev1.ReplicationController) field.ErrorList {
			s := &r.Status
			return validateReplicaCounts(&appsv1.ReplicaSetStatus{
				Replicas: s.Replicas, FullyLabeledReplicas: s.FullyLabeledReplicas, ReadyReplicas: s.ReadyReplicas,
				AvailableReplicas: s.AvailableReplicas, ObservedGeneration: s.ObservedGeneration,
			})
		}),
		Warnings: warnings(func(r *corev1.ReplicationController, isNew bool) []string {
			return templateWarnings(r.Name, stampedBy(r), isNew)
		}),
		Columns: append([]metav1.TableColumnDefinition{
			nameColumn,
			numberColumn("Desired", "How many pods are wanted."),
			numberColumn("Current", "How many pods there are."),
			numberColumn("Ready", "How many pods are ready."),
			ageColumn,
		}, templateColumns()...),
		Row: row(func(r *corev1.ReplicationController, now time.Time) []any {
			names, images := containerCells(stampedBy(r).Spec.Containers)
			return []any{
				r.Name, int64(valueOf(r.Spec.Replicas)), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas),
				age(r.CreationTimestamp, now), names, images, formatMap(r.Spec.Selector),
			}
		}),
		FieldLabels: []string{"status.replicas"},
		Fields: selectable(func(r *corev1.ReplicationController) fields.Set {
			return fields.Set{"status.replicas": strconv.Itoa(int(r.Status.Replicas))}
		}),
		HasStatus:       true,
		HasGeneration:   true,
		OrphanByDefault: true,
		Scale: &ScaleAccess{
			Get: func(o runtime.Object) (spec, status int32, selector string) {
				r := o.(*corev1.ReplicationController)
				return valueOf(r.Spec.Replicas), r.Status.Replicas, labels.Set(r.Spec.Selector).String()
			},
			Set: func(o runtime.Object, replicas int32) { o.(*corev1.ReplicationController).Spec.Replicas = &replicas },
		},
	})
}

// stampedBy is the controller's template; an empty one if it has none.
func stampedBy(r *corev1.ReplicationController) *corev1.PodTemplateSpec {
	if r.Spec.Template == nil {
		return &corev1.PodTemplateSpec{}
	}
	return r.Spec.Template
}

// defaultReplicationController: the labels of the pods serve as the controller's own, and as its selector.
func defaultReplicationController(r *corev1.ReplicationController) {
	fillPtr(&r.Spec.Replicas, 1)
	t := r.Spec.Template
	if t == nil {
		return
	}
	if len(r.Spec.Selector) == 0 {
		r.Spec.Selector = maps.Clone(t.Labels)
	}
	if len(r.Labels) == 0 {
		r.Labels = maps.Clone(t.Labels)
	}
	defaultPodSpec(&t.Spec)
}

func validateReplicationController(r *corev1.ReplicationController) (errs field.ErrorList) {
	s, spec := &r.Spec, field.NewPath("spec")
	errs = append(errs, nonnegative(int64(s.MinReadySeconds), spec.Child("minReadySeconds"))...)
	if len(s.Selector) == 0 {
		errs = append(errs, field.Required(spec.Child("selector"), ""))
	}
	errs = append(errs, nonnegative(int64(valueOf(s.Replicas)), spec.Child("replicas"))...)
	if s.Template == nil {
		return append(errs, field.Required(spec.Child("template"), ""))
	}
	if !labels.SelectorFromSet(s.Selector).Matches(labels.Set(s.Template.Labels)) {
		errs = append(errs, unmatchedTemplate(s.Template, spec))
	}
	return append(errs, validateLastingTemplate(s.Template, "ReplicationController", spec.Child("template"))...)
}
