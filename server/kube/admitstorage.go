package kube

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/peapod-sh/peapod/api"
)

// storageProtectionRule puts the finalizers on new storage objects that hold them while they are used. A controller takes them off.
type storageProtectionRule struct{}

func (storageProtectionRule) mutate(_ context.Context, at admission.Attributes) error {
	gr := at.GetResource().GroupResource()
	if c := created[corev1.PersistentVolumeClaim](at, gr); c != nil {
		protect(c, api.ClaimProtectionFinalizer)
	}
	if v := created[corev1.PersistentVolume](at, gr); v != nil {
		protect(v, api.VolumeProtectionFinalizer)
	}
	if c := created[storagev1.VolumeAttributesClass](at, gr); c != nil {
		protect(c, api.AttributesProtectionFinalizer)
	}
	return nil
}

func protect(o metav1.Object, finalizer string) {
	if held := o.GetFinalizers(); !slices.Contains(held, finalizer) {
		o.SetFinalizers(append(slices.Clone(held), finalizer))
	}
}
