package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// Source reads what volumes are made of. Found is false if there is no such object, or no way to issue a token.
type Source interface {
	ConfigMap(ctx context.Context, namespace, name string) (cm *corev1.ConfigMap, found bool, err error)
	Secret(ctx context.Context, namespace, name string) (s *corev1.Secret, found bool, err error)
	Claim(ctx context.Context, namespace, name string) (c *corev1.PersistentVolumeClaim, found bool, err error)
	Volume(ctx context.Context, name string) (v *corev1.PersistentVolume, found bool, err error)
	Token(ctx context.Context, pod *corev1.Pod, audience string, seconds int64) (token []byte, found bool, err error)
	TrustBundle(ctx context.Context, name string) (pem string, found bool, err error)
}

// Store keeps the volumes of a node's pods under Root/POD-UID/volumes/NAME. A volume that outlives its pod is a symlink there.
type Store struct {
	Root string
	// Local holds the directories of the built-in provisioner's volumes; NodeName is the node that has them.
	Local, NodeName string
	Source          Source
	// NodeAllocatable stands for limits that a container does not set.
	NodeAllocatable corev1.ResourceList
	// MemoryLimit is what all of a pod may use, in bytes; 0 is no limit. Nil is none for every pod.
	MemoryLimit func(*corev1.Pod) int64
	// Layers has an image ready and names its unpacked layers, lowest first.
	Layers func(ctx context.Context, pod *corev1.Pod, image *corev1.ImageVolumeSource) ([]string, error)
}

// Dir is where a volume of a pod is kept.
func (s *Store) Dir(podUID, volume string) string {
	return filepath.Join(s.Root, podUID, "volumes", volume)
}

// Prepare makes all volumes of a pod but those of images. It may be called again.
func (s *Store) Prepare(ctx context.Context, pod *corev1.Pod) error {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		err := s.prepare(ctx, pod, v)
		var told *setupError
		switch {
		case err == nil:
		case errors.As(err, &told):
			return err
		default:
			return &setupError{"MountVolume.SetUp failed", v.Name, err}
		}
	}
	return nil
}

// setupError says which step failed for which volume, as Kubernetes' events do.
type setupError struct {
	stage, volume string
	err           error
}

func (e *setupError) Error() string {
	return fmt.Sprintf("%s for volume %q : %v", e.stage, e.volume, e.err)
}
func (e *setupError) Unwrap() error { return e.err }

func (s *Store) prepare(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) error {
	switch {
	case v.HostPath != nil:
		return checkHostPath(v.HostPath)
	case v.EmptyDir != nil || v.VolumeSource == (corev1.VolumeSource{}):
		return s.emptyDir(pod, v)
	case projects(v):
		return s.project(ctx, pod, v)
	case claimOf(pod, v) != "":
		return s.claimed(ctx, pod, v)
	case v.Image != nil:
		return nil // PrepareImages
	}
	return errors.New("this kind of volume is not supported by the node")
}

// emptyDir makes a directory that every container may write, in memory if that is asked for.
func (s *Store) emptyDir(pod *corev1.Pod, v *corev1.Volume) error {
	dir := s.Dir(string(pod.UID), v.Name)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	if e := v.EmptyDir; e != nil {
		switch e.Medium {
		case corev1.StorageMediumDefault:
		case corev1.StorageMediumMemory:
			if err := mountMemory(dir, s.memorySize(pod, e)); err != nil {
				return err
			}
		default:
			return fmt.Errorf("the node has no storage medium %q", e.Medium)
		}
	}
	mode := os.FileMode(0o777)
	if gid := fsGroup(pod); gid >= 0 {
		if err := os.Chown(dir, -1, gid); err != nil {
			return err
		}
		mode |= os.ModeSetgid
	}
	return os.Chmod(dir, mode) // the umask does not count
}

// Release unmounts and removes the volumes of a pod that has ended; what it has of volumes that outlive it is symlinks.
func (s *Store) Release(podUID string) error {
	if podUID == "" {
		return nil
	}
	volumes := filepath.Join(s.Root, podUID, "volumes")
	list, err := os.ReadDir(volumes)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range list {
		if !e.IsDir() {
			continue
		}
		if err := unmount(filepath.Join(volumes, e.Name())); err != nil {
			return err
		}
	}
	return os.RemoveAll(volumes)
}

// Remove takes away everything of a pod under Root.
func (s *Store) Remove(podUID string) error {
	if podUID == "" {
		return nil
	}
	if err := s.Release(podUID); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(s.Root, podUID))
}

// ReleaseAll does so for every pod: for a node that will not come back.
func (s *Store) ReleaseAll() error {
	var errs []error
	for _, uid := range s.Known() {
		errs = append(errs, s.Release(uid))
	}
	return errors.Join(errs...)
}

// Known lists the pods that have something under Root.
func (s *Store) Known() []string {
	list, err := os.ReadDir(s.Root)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range list {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out
}
