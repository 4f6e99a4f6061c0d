package kube

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apiserver/pkg/admission"
)

// claimResizeRule lets only those claims grow whose volumes can. That they must be bound is said by the kind's own validation, before.
type claimResizeRule struct{ state }

func (r claimResizeRule) validate(ctx context.Context, at admission.Attributes) error {
	c, old := updated[corev1.PersistentVolumeClaim](at, claimsResource)
	if c == nil {
		return nil
	}
	now, was := c.Spec.Resources.Requests[corev1.ResourceStorage], old.Spec.Resources.Requests[corev1.ResourceStorage]
	if now.Cmp(was) <= 0 {
		return nil
	}
	if err := r.surely(ctx, func() error { return r.mayGrow(c, old) }); err != nil {
		return admission.NewForbidden(at, err)
	}
	return nil
}

func (r claimResizeRule) mayGrow(c, old *corev1.PersistentVolumeClaim) error {
	now, _ := claimClass(c)
	was, _ := claimClass(old)
	if now != "" && now == was {
		class, ok := r.Object(storageClassesResource, "", now).(*storagev1.StorageClass)
		if ok && class.AllowVolumeExpansion != nil && *class.AllowVolumeExpansion {
			return nil
		}
	}
	return errors.New("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize")
}
