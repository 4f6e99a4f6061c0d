package api

import (
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: appsv1.SchemeGroupVersion,
		Name:         "DaemonSet", Resource: "daemonsets", Singular: "daemonset",
		ShortNames: []string{"ds"}, Categories: []string{"all"},
		New:                    func() runtime.Object { return &appsv1.DaemonSet{} },
		NewList:                func() runtime.Object { return &appsv1.DaemonSetList{} },
		Default:                with(defaultDaemonSet),
		PrepareForCreate:       with(prepareDaemonSet),
		PrepareForUpdate:       withOld(countDaemonSetTemplate),
		PrepareForStatusUpdate: withOld(func(d, old *appsv1.DaemonSet) { setTemplateGeneration(d, templateGeneration(old)) }),
		Validate:               check(validateDaemonSet),
		ValidateUpdate:         checkOld(keepAddresses(validateDaemonSetUpdate)),
		ValidateStatusUpdate:   checkOld(validateDaemonSetStatus),
		Warnings: warnings(func(d *appsv1.DaemonSet, _ bool) []string {
			return podWarnings(&d.Spec.Template.Spec, field.NewPath("spec", "template", "spec"))
		}),
		Columns: append([]metav1.TableColumnDefinition{
			nameColumn,
			numberColumn("Desired", "How many nodes should run a pod of the set."),
			numberColumn("Current", "How many of those nodes run one."),
			numberColumn("Ready", "On how many of them it is ready."),
			numberColumn("Up-to-date", "How many nodes run a pod of the current template."),
			numberColumn("Available", "On how many nodes the pod has been ready for long enough."),
			textColumn("Node Selector", "Which nodes should run a pod."),
			ageColumn,
		}, templateColumns()...),
		Row: row(func(d *appsv1.DaemonSet, now time.Time) []any {
			s := &d.Status
			return append([]any{
				d.Name, int64(s.DesiredNumberScheduled), int64(s.CurrentNumberScheduled), int64(s.NumberReady), int64(s.UpdatedNumberScheduled),
				int64(s.NumberAvailable), formatMap(d.Spec.Template.Spec.NodeSelector), age(d.CreationTimestamp, now),
			}, templateCells(&d.Spec.Template.Spec, d.Spec.Selector)...)
		}),
		HasStatus:     true,
		HasGeneration: true,
	})
}

func defaultDaemonSet(d *appsv1.DaemonSet) {
	u := &d.Spec.UpdateStrategy
	fill(&u.Type, appsv1.RollingUpdateDaemonSetStrategyType)
	if u.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		fillPtr(&u.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
		fillPtr(&u.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		fillPtr(&u.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	fillPtr(&d.Spec.RevisionHistoryLimit, 10)
	defaultPodSpec(&d.Spec.Template.Spec)
}

// The number of the template is kept in an annotation: it was a field once, and clients still read it. What a client writes there does
// not count, but it must be a number (validateDaemonSet says so).

func prepareDaemonSet(d *appsv1.DaemonSet) {
	if n := templateGeneration(d); n < 1 {
		setTemplateGeneration(d, 1)
	}
}

func countDaemonSetTemplate(d, old *appsv1.DaemonSet) {
	n := templateGeneration(old)
	if !equality.Semantic.DeepEqual(d.Spec.Template, old.Spec.Template) {
		n++
	}
	setTemplateGeneration(d, n)
}

// templateGeneration is 0 if there is no number; an invalid one is not read either.
func templateGeneration(d *appsv1.DaemonSet) int64 {
	n, err := parseInt(d.Annotations[appsv1.DeprecatedTemplateGeneration])
	if err != nil {
		return 0
	}
	return n
}

// setTemplateGeneration leaves what is not a number, so that validation can report it.
func setTemplateGeneration(d *appsv1.DaemonSet, n int64) {
	if text, ok := d.Annotations[appsv1.DeprecatedTemplateGeneration]; ok {
		if _, err := parseInt(text); err != nil {
			return
		}
	}
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[appsv1.DeprecatedTemplateGeneration] = strconv.FormatInt(n, 10)
}
