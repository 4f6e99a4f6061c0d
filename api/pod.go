package api

import (
	"strconv"

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
		Name:         "Pod", Resource: "pods", Singular: "pod", ShortNames: []string{"po"}, Categories: []string{"all"},
		New:                    func() runtime.Object { return &corev1.Pod{} },
		NewList:                func() runtime.Object { return &corev1.PodList{} },
		Default:                with(defaultPod),
		PrepareForCreate:       with(preparePod),
		PrepareForUpdate:       withOld(preparePodUpdate),
		PrepareForStatusUpdate: withOld(preparePodStatus),
		Validate:               check(validatePod),
		ValidateUpdate:         checkOld(keepAddresses(validatePodUpdate)),
		ValidateStatusUpdate:   checkOld(keepAddresses(validatePodStatus)),
		ValidateName:           validation.NameIsDNSSubdomain,
		Warnings:               warnings(podWarningsOf),
		Columns:                podColumns,
		Row:                    row(podRow),
		FieldLabels: []string{
			"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
			"status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName",
		},
		Fields:        selectable(podFields),
		HasStatus:     true,
		HasGeneration: true,
	})
}

func podWarningsOf(p *corev1.Pod, isNew bool) []string {
	out := append(nameWarning(p.Name, "this is used in the Pod's hostname", isNew), annotationWarnings(p.Annotations, nil)...)
	return append(out, podWarnings(&p.Spec, field.NewPath("spec"))...)
}

func podFields(p *corev1.Pod) fields.Set {
	ip := p.Status.PodIP
	return fields.Set{
		"spec.nodeName":            p.Spec.NodeName,
		"spec.restartPolicy":       string(p.Spec.RestartPolicy),
		"spec.schedulerName":       p.Spec.SchedulerName,
		"spec.serviceAccountName":  p.Spec.ServiceAccountName,
		"spec.hostNetwork":         strconv.FormatBool(p.Spec.HostNetwork),
		"status.phase":             string(p.Status.Phase),
		"status.podIP":             ip,
		"status.podIPs":            ip,
		"status.nominatedNodeName": p.Status.NominatedNodeName,
	}
}

func preparePod(p *corev1.Pod) {
	syncServiceAccount(&p.Spec) // admission may have chosen the account after defaulting
	dropDisabledPodFields(&p.Spec, nil)
	mergeLabelKeys(p)
	p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: QOSClass(p)}
	if len(p.Spec.SchedulingGates) > 0 {
		p.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated,
			Message: "Scheduling is blocked due to non-empty scheduling gates",
		}}
	}
}

func preparePodUpdate(p, old *corev1.Pod) {
	syncServiceAccount(&p.Spec)
	dropDisabledPodFields(&p.Spec, &old.Spec)
}

// mergeLabelKeys writes what matchLabelKeys and mismatchLabelKeys mean for this pod into the selectors beside them: from then on the
// pod means the same, whatever becomes of its labels.
func mergeLabelKeys(p *corev1.Pod) {
	for i := range p.Spec.TopologySpreadConstraints {
		c := &p.Spec.TopologySpreadConstraints[i]
		matchKeys(c.LabelSelector, c.MatchLabelKeys, metav1.LabelSelectorOpIn, p.Labels)
	}
	terms := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		for i := range required {
			mergeTerm(&required[i], p.Labels)
		}
		for i := range preferred {
			mergeTerm(&preferred[i].PodAffinityTerm, p.Labels)
		}
	}
	if p.Spec.Affinity == nil {
		return
	}
	if a := p.Spec.Affinity.PodAffinity; a != nil {
		terms(a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if a := p.Spec.Affinity.PodAntiAffinity; a != nil {
		terms(a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}

func mergeTerm(t *corev1.PodAffinityTerm, labels map[string]string) {
	matchKeys(t.LabelSelector, t.MatchLabelKeys, metav1.LabelSelectorOpIn, labels)
	matchKeys(t.LabelSelector, t.MismatchLabelKeys, metav1.LabelSelectorOpNotIn, labels)
}

// matchKeys ignores keys that the pod has no label for, and a selector that is not there (validation reports it).
func matchKeys(s *metav1.LabelSelector, keys []string, op metav1.LabelSelectorOperator, labels map[string]string) {
	if s == nil {
		return
	}
	for _, key := range keys {
		if v, ok := labels[key]; ok {
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: []string{v}})
		}
	}
}

// preparePodStatus keeps what never changes after creation.
func preparePodStatus(p, old *corev1.Pod) {
	if p.Status.QOSClass == "" {
		p.Status.QOSClass = old.Status.QOSClass
	}
	syncPodIPs(&p.Status)
}
