package api

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: corev1.SchemeGroupVersion,
		Name:         "PodTemplate", Resource: "podtemplates", Singular: "podtemplate",
		New:     func() runtime.Object { return &corev1.PodTemplate{} },
		NewList: func() runtime.Object { return &corev1.PodTemplateList{} },
		Default: with(func(t *corev1.PodTemplate) { defaultPodSpec(&t.Template.Spec) }),
		Validate: check(func(t *corev1.PodTemplate) field.ErrorList {
			return validateTemplate(&t.Template, field.NewPath("template"))
		}),
		Warnings: warnings(func(t *corev1.PodTemplate, _ bool) []string {
			return podWarnings(&t.Template.Spec, field.NewPath("template", "spec"))
		}),
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			textColumn("Containers", "Names of the containers in the template."),
			textColumn("Images", "Images of the containers in the template."),
			textColumn("Pod Labels", "Labels that the pods will have."),
		},
		Row: row(func(t *corev1.PodTemplate, _ time.Time) []any {
			names, images := containerCells(t.Template.Spec.Containers)
			return []any{t.Name, names, images, formatMap(t.Template.Labels)}
		}),
		HasGeneration: true,
	})
}
