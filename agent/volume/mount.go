package volume

import (
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// Mount says what a container is to mount for one of its volumeMounts; sub is its subPath, expanded. It is nil
// if there is nothing to mount.
func (s *Store) Mount(pod *corev1.Pod, vm *corev1.VolumeMount, container, sub string) (*runtime.Mount, error) {
	v := find(pod, vm.Name)
	if v == nil {
		return nil, fmt.Errorf("volume %q is not one of the pod's", vm.Name)
	}
	m := &runtime.Mount{Source: s.Dir(string(pod.UID), v.Name), Target: vm.MountPath, ReadOnly: vm.ReadOnly || readOnly(v), NoExec: v.Image != nil}
	switch {
	case v.HostPath != nil:
		m.Source = v.HostPath.Path
	case claimOf(pod, v) != "":
		source, err := os.Readlink(m.Source)
		if err != nil {
			return nil, fmt.Errorf("volume %q is not set up: %w", vm.Name, err)
		}
		m.Source = source
	}
	if !filepath.IsAbs(m.Target) {
		m.Target = "/" + m.Target
	}
	if sub == "" {
		return m, nil
	}
	source, err := subPath(m.Source, sub)
	if err != nil {
		return nil, fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q: %w", vm.Name, container, err)
	}
	m.Source = source
	return m, nil
}

// readOnly says whether nobody may write a volume, whatever its mounts ask for.
func readOnly(v *corev1.Volume) bool {
	return projects(v) || v.Image != nil || v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ReadOnly
}

func find(pod *corev1.Pod, name string) *corev1.Volume {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Name == name {
			return &pod.Spec.Volumes[i]
		}
	}
	return nil
}
