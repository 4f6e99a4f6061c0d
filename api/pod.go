package api

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
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
		PrepareForUpdate:       withOld(func(p, _ *corev1.Pod) { syncServiceAccount(&p.Spec) }),
		PrepareForStatusUpdate: withOld(preparePodStatus),
		Validate:               check(validatePod),
		ValidateUpdate:         checkOld(validatePodUpdate),
		ValidateStatusUpdate:   checkOld(validatePodStatus),
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
	return append(nameWarning(p.Name, "this is used in the Pod's hostname", isNew), podWarnings(&p.Spec, field.NewPath("spec"))...)
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
	p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: QOSClass(p)}
	if len(p.Spec.SchedulingGates) > 0 {
		p.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated,
			Message: "Scheduling is blocked due to non-empty scheduling gates",
		}}
	}
}

// preparePodStatus keeps what never changes after creation.
func preparePodStatus(p, old *corev1.Pod) {
	if p.Status.QOSClass == "" {
		p.Status.QOSClass = old.Status.QOSClass
	}
	syncPodIPs(&p.Status)
}
