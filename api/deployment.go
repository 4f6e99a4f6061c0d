package api

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func init() {
	Register(&Kind{
		GroupVersion: appsv1.SchemeGroupVersion,
		Name:         "Deployment", Resource: "deployments", Singular: "deployment",
		ShortNames: []string{"deploy"}, Categories: []string{"all"},
		New:                  func() runtime.Object { return &appsv1.Deployment{} },
		NewList:              func() runtime.Object { return &appsv1.DeploymentList{} },
		Default:              with(defaultDeployment),
		PrepareForCreate:     with(func(d *appsv1.Deployment) { dropDisabledPodFields(&d.Spec.Template.Spec, nil) }),
		PrepareForUpdate:     withOld(prepareDeploymentUpdate),
		Validate:             check(validateDeployment),
		ValidateUpdate:       checkOld(keepAddresses(validateDeploymentUpdate)),
		ValidateStatusUpdate: checkOld(validateDeploymentStatus),
		Warnings: warnings(func(d *appsv1.Deployment, isNew bool) []string {
			return templateWarnings(d.Name, &d.Spec.Template, isNew)
		}),
		Columns: append([]metav1.TableColumnDefinition{
			nameColumn,
			textColumn("Ready", "How many pods are ready, of how many wanted."),
			numberColumn("Up-to-date", "How many pods are of the current template."),
			numberColumn("Available", "How many pods have been ready for long enough."),
			ageColumn,
		}, templateColumns()...),
		Row: row(func(d *appsv1.Deployment, now time.Time) []any {
			return append([]any{
				d.Name, fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, valueOf(d.Spec.Replicas)),
				int64(d.Status.UpdatedReplicas), int64(d.Status.AvailableReplicas), age(d.CreationTimestamp, now),
			}, templateCells(&d.Spec.Template.Spec, d.Spec.Selector)...)
		}),
		HasStatus:     true,
		HasGeneration: true,
		Scale: &ScaleAccess{
			Get: func(o runtime.Object) (spec, status int32, selector string) {
				d := o.(*appsv1.Deployment)
				return valueOf(d.Spec.Replicas), d.Status.Replicas, selectorText(d.Spec.Selector)
			},
			Set: func(o runtime.Object, replicas int32) { o.(*appsv1.Deployment).Spec.Replicas = &replicas },
		},
	})
}

func defaultDeployment(d *appsv1.Deployment) {
	fillPtr(&d.Spec.Replicas, 1)
	defaultPodSpec(&d.Spec.Template.Spec)
	s := &d.Spec.Strategy
	fill(&s.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if s.Type == appsv1.RollingUpdateDeploymentStrategyType {
		fillPtr(&s.RollingUpdate, appsv1.RollingUpdateDeployment{})
		fillPtr(&s.RollingUpdate.MaxUnavailable, quarter())
		fillPtr(&s.RollingUpdate.MaxSurge, quarter())
	}
	fillPtr(&d.Spec.RevisionHistoryLimit, 10)
	fillPtr(&d.Spec.ProgressDeadlineSeconds, 600)
}

// prepareDeploymentUpdate counts changes of annotations as generations too: the controller copies
// them to the replica sets, so it must see that it has not yet done so.
func prepareDeploymentUpdate(d, old *appsv1.Deployment) {
	dropDisabledPodFields(&d.Spec.Template.Spec, &old.Spec.Template.Spec)
	if d.Generation == old.Generation && !equality.Semantic.DeepEqual(d.Annotations, old.Annotations) {
		d.Generation++
	}
}
