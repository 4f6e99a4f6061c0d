package server

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// foundStorage gives the cluster its default storage class, once.
func (s *Server) foundStorage(ctx context.Context) error {
	if _, done := s.state.Meta(metaStorage); done {
		return nil
	}
	list := append(s.unlessThere(storagev1.GroupName, "storageclasses", localPathClass()), &ops.PutMeta{Key: metaStorage, Value: []byte("1")})
	if err := s.propose(ctx, list...); err != nil {
		return fmt.Errorf("making the default storage class: %w", err)
	}
	return nil
}

// localPathClass is the class of volumes that are directories of a node: made where the first pod goes, gone with their claim. They
// may grow, since a directory has no size of its own.
func localPathClass() *storagev1.StorageClass {
	remove, late, grows := corev1.PersistentVolumeReclaimDelete, storagev1.VolumeBindingWaitForFirstConsumer, true
	return &storagev1.StorageClass{
		ObjectMeta:  metav1.ObjectMeta{Name: "local-path", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
		Provisioner: api.LocalPathProvisioner, ReclaimPolicy: &remove, VolumeBindingMode: &late, AllowVolumeExpansion: &grows,
	}
}
