package api

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: corev1.SchemeGroupVersion,
		Name:         "Namespace", Resource: "namespaces", Singular: "namespace", ShortNames: []string{"ns"},
		ClusterScoped:    true,
		New:              func() runtime.Object { return &corev1.Namespace{} },
		NewList:          func() runtime.Object { return &corev1.NamespaceList{} },
		Default:          with(defaultNamespace),
		PrepareForCreate: with(prepareNamespace),
		// Finalizers leave by the finalize subresource only, and never come by an update.
		PrepareForUpdate:     withOld(func(ns, old *corev1.Namespace) { ns.Spec.Finalizers = old.Spec.Finalizers }),
		Validate:             check(validateNamespace),
		ValidateUpdate:       checkOld(func(ns, old *corev1.Namespace) field.ErrorList { return validateNamespace(ns) }),
		ValidateName:         validation.ValidateNamespaceName,
		ValidateStatusUpdate: checkOld(validateNamespaceStatus),
		Columns: []metav1.TableColumnDefinition{
			nameColumn, textColumn("Status", "Active, or Terminating while the namespace is being emptied."), ageColumn,
		},
		Row: row(func(ns *corev1.Namespace, now time.Time) []any {
			return []any{ns.Name, string(ns.Status.Phase), age(ns.CreationTimestamp, now)}
		}),
		FieldLabels: []string{"status.phase"},
		Fields: selectable(func(ns *corev1.Namespace) fields.Set {
			return fields.Set{"status.phase": string(ns.Status.Phase)}
		}),
		HasStatus: true,
	})
}

// defaultNamespace makes the name a label, so that selectors of namespaces can name one.
func defaultNamespace(ns *corev1.Namespace) {
	if ns.Name == "" {
		return
	}
	if ns.Labels == nil {
		ns.Labels = map[string]string{}
	}
	ns.Labels[corev1.LabelMetadataName] = ns.Name
}

func prepareNamespace(ns *corev1.Namespace) {
	defaultNamespace(ns) // a generated name comes after defaulting
	ns.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
	if !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
		ns.Spec.Finalizers = append(ns.Spec.Finalizers, corev1.FinalizerKubernetes)
	}
}

// AggregatedFinalizer keeps a terminating namespace until the API servers that the cluster leads to have nothing of it any more.
const AggregatedFinalizer corev1.FinalizerName = "peapod.sh/aggregated-apis"

// ownFinalizers are those that need no domain before their names.
var ownFinalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes, metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents}

func validateNamespace(ns *corev1.Namespace) (errs field.ErrorList) {
	path := field.NewPath("spec", "finalizers")
	for _, f := range ns.Spec.Finalizers {
		errs = append(errs, validateFinalizer(string(f), path)...)
		if !strings.Contains(string(f), "/") && !slices.Contains(ownFinalizers, f) {
			errs = append(errs, field.Invalid(path, f, "name is neither a standard finalizer name nor is it fully qualified"))
		}
	}
	return errs
}

// validateNamespaceStatus keeps the phase and the deletion timestamp of one mind.
func validateNamespaceStatus(ns, _ *corev1.Namespace) field.ErrorList {
	path := field.NewPath("status", "phase")
	switch {
	case ns.DeletionTimestamp.IsZero() && ns.Status.Phase != corev1.NamespaceActive:
		return field.ErrorList{field.Invalid(path, ns.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty")}
	case !ns.DeletionTimestamp.IsZero() && ns.Status.Phase != corev1.NamespaceTerminating:
		return field.ErrorList{field.Invalid(path, ns.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")}
	}
	return nil
}
