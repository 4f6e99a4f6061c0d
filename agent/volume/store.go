package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// Source reads what volumes are made of. Found is false if there is no such object, or no way to issue a token.
type Source interface {
	ConfigMap(ctx context.Context, namespace, name string) (cm *corev1.ConfigMap, found bool, err error)
	Secret(ctx context.Context, namespace, name string) (s *corev1.Secret, found bool, err error)
	Token(ctx context.Context, pod *corev1.Pod, audience string, seconds int64) (token []byte, found bool, err error)
}

// Store keeps the volumes of a node's pods under Root/POD-UID/volumes/NAME.
type Store struct {
	Root   string
	Source Source
	// NodeAllocatable stands for limits that a container does not set.
	NodeAllocatable corev1.ResourceList
}

// Dir is where a volume of a pod is kept.
func (s *Store) Dir(podUID, volume string) string {
	return filepath.Join(s.Root, podUID, "volumes", volume)
}

// Prepare makes all volumes of a pod. It may be called again.
func (s *Store) Prepare(ctx context.Context, pod *corev1.Pod) error {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if err := s.prepare(ctx, pod, v); err != nil {
			return fmt.Errorf("MountVolume.SetUp failed for volume %q : %w", v.Name, err)
		}
	}
	return nil
}

func (s *Store) prepare(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) error {
	switch {
	case v.HostPath != nil:
		return checkHostPath(v.HostPath)
	case v.EmptyDir != nil || v.VolumeSource == (corev1.VolumeSource{}):
		return s.emptyDir(pod, v)
	case projects(v):
		return s.project(ctx, pod, v)
	}
	return errors.New("this kind of volume is not supported by the node")
}

// emptyDir makes a directory that every container may write, in memory if that is asked for.
func (s *Store) emptyDir(pod *corev1.Pod, v *corev1.Volume) error {
	dir := s.Dir(string(pod.UID), v.Name)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	if e := v.EmptyDir; e != nil && e.Medium == corev1.StorageMediumMemory {
		if err := mountMemory(dir, e); err != nil {
			return err
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

func mountMemory(dir string, e *corev1.EmptyDirVolumeSource) error {
	mounted, err := isMountPoint(dir)
	if err != nil || mounted {
		return err
	}
	options := ""
	if e.SizeLimit != nil && e.SizeLimit.Value() > 0 {
		options = fmt.Sprintf("size=%d", e.SizeLimit.Value())
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mounting memory at %s: %w", dir, err)
	}
	return nil
}

// isMountPoint compares a directory's device with its parent's.
func isMountPoint(dir string) (bool, error) {
	var own, parent unix.Stat_t
	if err := unix.Stat(dir, &own); err != nil {
		return false, err
	}
	if err := unix.Stat(filepath.Dir(dir), &parent); err != nil {
		return false, err
	}
	return own.Dev != parent.Dev, nil
}

func fsGroup(pod *corev1.Pod) int {
	if sc := pod.Spec.SecurityContext; sc != nil && sc.FSGroup != nil {
		return int(*sc.FSGroup)
	}
	return -1
}

// checkHostPath makes what may be made and refuses what is of another type than asked for.
func checkHostPath(h *corev1.HostPathVolumeSource) error {
	kind := corev1.HostPathUnset
	if h.Type != nil {
		kind = *h.Type
	}
	switch kind {
	case corev1.HostPathUnset:
		if _, err := os.Stat(h.Path); errors.Is(err, os.ErrNotExist) {
			return os.MkdirAll(h.Path, 0o755)
		}
		return nil
	case corev1.HostPathDirectoryOrCreate:
		if err := os.MkdirAll(h.Path, 0o755); err != nil {
			return err
		}
		kind = corev1.HostPathDirectory
	case corev1.HostPathFileOrCreate:
		f, err := os.OpenFile(h.Path, os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		f.Close()
		kind = corev1.HostPathFile
	}
	st, err := os.Stat(h.Path)
	if err != nil {
		return fmt.Errorf("hostPath type check failed: %w", err)
	}
	if !isOfType(st.Mode(), kind) {
		return fmt.Errorf("hostPath type check failed: %s is not a %s", h.Path, kind)
	}
	return nil
}

func isOfType(mode os.FileMode, kind corev1.HostPathType) bool {
	switch kind {
	case corev1.HostPathDirectory:
		return mode.IsDir()
	case corev1.HostPathFile:
		return mode.IsRegular()
	case corev1.HostPathSocket:
		return mode&os.ModeSocket != 0
	case corev1.HostPathCharDev:
		return mode&os.ModeCharDevice != 0
	case corev1.HostPathBlockDev:
		return mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0
	}
	return false
}

// Mount says what a container is to mount for one volumeMount; sub is its subPath, expanded. It is nil
// if there is nothing to mount.
func (s *Store) Mount(pod *corev1.Pod, vm *corev1.VolumeMount, sub string) (*runtime.Mount, error) {
	v := find(pod, vm.Name)
	if v == nil {
		return nil, fmt.Errorf("volume %q is not one of the pod's", vm.Name)
	}
	m := &runtime.Mount{Source: s.Dir(string(pod.UID), v.Name), Target: vm.MountPath, ReadOnly: vm.ReadOnly || projects(v)}
	if v.HostPath != nil {
		m.Source = v.HostPath.Path
	}
	if !filepath.IsAbs(m.Target) {
		m.Target = "/" + m.Target
	}
	if sub == "" {
		return m, nil
	}
	source, err := subPath(m.Source, sub)
	if err != nil {
		return nil, fmt.Errorf("failed to prepare subPath for volumeMount %q: %w", vm.Name, err)
	}
	m.Source = source
	return m, nil
}

func find(pod *corev1.Pod, name string) *corev1.Volume {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Name == name {
			return &pod.Spec.Volumes[i]
		}
	}
	return nil
}

// subPath finds a path inside a volume, and makes a directory of it if nothing is there. A symlink that a
// container put into the volume cannot lead out of it: the root is opened once and everything is relative to it.
func subPath(volume, sub string) (string, error) {
	if !filepath.IsLocal(sub) {
		return "", fmt.Errorf("subPath %q leaves its volume", sub)
	}
	root, err := os.OpenRoot(volume)
	if err != nil {
		return "", err
	}
	defer root.Close()
	if _, err := root.Stat(sub); errors.Is(err, os.ErrNotExist) {
		if err := root.MkdirAll(sub, 0o777); err != nil {
			return "", err
		}
		if err := root.Chmod(sub, 0o777); err != nil {
			return "", err
		}
	} else if err != nil {
		return "", err
	}
	return resolveInside(volume, sub)
}

// resolveInside follows symlinks now, so that the runtime's mount follows none later.
func resolveInside(volume, sub string) (string, error) {
	base, err := filepath.EvalSymlinks(volume)
	if err != nil {
		return "", err
	}
	path, err := filepath.EvalSymlinks(filepath.Join(base, sub))
	if err != nil {
		return "", err
	}
	if rel, err := filepath.Rel(base, path); err != nil || !filepath.IsLocal(rel) {
		return "", fmt.Errorf("subPath %q leaves its volume", sub)
	}
	return path, nil
}

// Remove takes away everything of a pod under Root, and unmounts what was mounted there.
func (s *Store) Remove(podUID string) error {
	if podUID == "" {
		return nil
	}
	volumes := filepath.Join(s.Root, podUID, "volumes")
	list, err := os.ReadDir(volumes)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range list {
		dir := filepath.Join(volumes, e.Name())
		if mounted, err := isMountPoint(dir); err == nil && mounted {
			if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
				return fmt.Errorf("unmounting %s: %w", dir, err)
			}
		}
	}
	return os.RemoveAll(filepath.Join(s.Root, podUID))
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
