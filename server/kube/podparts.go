package kube

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/peapod-sh/peapod/api"
)

// podPart updates one part of a pod's spec, which the main resource keeps as it is.
type podPart struct {
	strategy
	prepare  func(p, old *corev1.Pod)
	validate func(p, old *corev1.Pod) field.ErrorList
}

func newEphemeralStrategy(k *api.Kind) podPart {
	return podPart{newStrategy(k), api.PrepareEphemeralContainersUpdate, api.ValidateEphemeralContainersUpdate}
}

func newResizeStrategy(k *api.Kind) podPart {
	return podPart{newStrategy(k), api.PreparePodResize, api.ValidatePodResize}
}

func (s podPart) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	s.prepare(obj.(*corev1.Pod), old.(*corev1.Pod))
	accessor(obj).SetGeneration(accessor(old).GetGeneration())
	if !sameIntent(obj, old) {
		accessor(obj).SetGeneration(accessor(old).GetGeneration() + 1)
	}
}

func (s podPart) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return distinct(s.validate(obj.(*corev1.Pod), old.(*corev1.Pod)))
}

func (s podPart) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

func (s podPart) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return resetFields(s.kind, "status")
}
