package kube

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/peapod-sh/peapod/api"
)

// storageClassRule gives new claims that name no class the cluster's default one, if there is one. A claim that names the empty
// class wants none.
type storageClassRule struct{ state }

func (r storageClassRule) mutate(_ context.Context, at admission.Attributes) error {
	c := created[corev1.PersistentVolumeClaim](at, claimsResource)
	if c == nil {
		return nil
	}
	if _, named := claimClass(c); named {
		return nil
	}
	classes := slices.DeleteFunc(factsOf[*storagev1.StorageClass](r, storageClassesResource, ""), func(c *storagev1.StorageClass) bool {
		return !api.IsDefaultStorageClass(c)
	})
	if found := youngest(classes); found != nil {
		c.Spec.StorageClassName = &found.Name
	}
	return nil
}

// claimClass is the class that a claim names, and whether it names one; the old annotation counts more than the field.
func claimClass(c *corev1.PersistentVolumeClaim) (string, bool) {
	if name, ok := c.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return name, true
	}
	if c.Spec.StorageClassName != nil {
		return *c.Spec.StorageClassName, true
	}
	return "", false
}
