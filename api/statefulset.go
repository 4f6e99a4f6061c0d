package api

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: appsv1.SchemeGroupVersion,
		Name:         "StatefulSet", Resource: "statefulsets", Singular: "statefulset",
		ShortNames: []string{"sts"}, Categories: []string{"all"},
		New:     func() runtime.Object { return &appsv1.StatefulSet{} },
		NewList: func() runtime.Object { return &appsv1.StatefulSetList{} },
		Default: with(defaultStatefulSet),
		Restore: with(func(s *appsv1.StatefulSet) {
			for i := range s.Spec.VolumeClaimTemplates {
				nameClaimTemplate(&s.Spec.VolumeClaimTemplates[i])
			}
		}),
		Validate:             check(validateStatefulSet),
		ValidateUpdate:       checkOld(keepAddresses(validateStatefulSetUpdate)),
		ValidateStatusUpdate: checkOld(validateStatefulSetStatus),
		// The set's name begins the host names of its pods, so it is a label.
		ValidateName: validation.NameIsDNSLabel,
		Warnings:     warnings(statefulSetWarnings),
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			textColumn("Ready", "How many pods are ready, of how many wanted."),
			ageColumn,
			wide(textColumn("Containers", "Names of the containers in the pod template.")),
			wide(textColumn("Images", "Images of the containers in the pod template.")),
		},
		Row: row(func(s *appsv1.StatefulSet, now time.Time) []any {
			names, images := containerCells(s.Spec.Template.Spec.Containers)
			return []any{
				s.Name, fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, valueOf(s.Spec.Replicas)), age(s.CreationTimestamp, now), names, images,
			}
		}),
		HasStatus:     true,
		HasGeneration: true,
		Scale: &ScaleAccess{
			Get: func(o runtime.Object) (spec, status int32, selector string) {
				s := o.(*appsv1.StatefulSet)
				return valueOf(s.Spec.Replicas), s.Status.Replicas, selectorText(s.Spec.Selector)
			},
			Set: func(o runtime.Object, replicas int32) { o.(*appsv1.StatefulSet).Spec.Replicas = &replicas },
		},
	})
}

func defaultStatefulSet(set *appsv1.StatefulSet) {
	s := &set.Spec
	fill(&s.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
	defaultStatefulSetStrategy(&s.UpdateStrategy)
	fillPtr(&s.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	fill(&s.PersistentVolumeClaimRetentionPolicy.WhenDeleted, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	fill(&s.PersistentVolumeClaimRetentionPolicy.WhenScaled, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	fillPtr(&s.Replicas, 1)
	fillPtr(&s.RevisionHistoryLimit, 10)
	defaultPodSpec(&s.Template.Spec)
	for i := range s.VolumeClaimTemplates {
		defaultClaimTemplate(&s.VolumeClaimTemplates[i])
	}
}

// defaultStatefulSetStrategy leaves a strategy whose type is said without its parameters; only one that is not said at all gets both.
func defaultStatefulSetStrategy(s *appsv1.StatefulSetUpdateStrategy) {
	if s.Type == "" {
		s.Type = appsv1.RollingUpdateStatefulSetStrategyType
		fillPtr(&s.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
	}
	if s.Type == appsv1.RollingUpdateStatefulSetStrategyType && s.RollingUpdate != nil {
		fillPtr(&s.RollingUpdate.Partition, 0)
		fillPtr(&s.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
	}
}

func statefulSetWarnings(s *appsv1.StatefulSet, _ bool) []string {
	out := podWarnings(&s.Spec.Template.Spec, field.NewPath("spec", "template", "spec"))
	if n := s.Spec.RevisionHistoryLimit; n != nil && *n < 0 {
		out = append(out, "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended")
	}
	return out
}
