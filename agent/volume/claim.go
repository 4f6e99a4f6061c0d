package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
)

// claimOf is the claim behind a pod's volume; "" if it is of another kind.
func claimOf(pod *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return pod.Name + "-" + v.Name
	}
	return ""
}

// claimed finds the directory of a claim's volume and leaves a symlink to it, so that a container can be started again while no server
// answers.
func (s *Store) claimed(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) error {
	pv, err := s.resolve(ctx, pod, v)
	if err != nil {
		return err
	}
	if asDevice(pod, v.Name) {
		return fmt.Errorf("volume %s has volumeMode Filesystem, but is specified in volumeDevices", v.Name)
	}
	path, err := s.open(pv)
	if err != nil {
		return err
	}
	if gid := fsGroup(pod); gid >= 0 && pv.Spec.HostPath == nil && !(v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ReadOnly) {
		if err := giveToGroup(path, gid, pod.Spec.SecurityContext.FSGroupChangePolicy); err != nil {
			return &setupError{"MountVolume.SetUp failed", pv.Name, err}
		}
	}
	return linkTo(path, s.Dir(string(pod.UID), v.Name))
}

// asDevice says whether a container wants a volume as a block device.
func asDevice(pod *corev1.Pod, volume string) bool {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if slices.ContainsFunc(list[i].VolumeDevices, func(d corev1.VolumeDevice) bool { return d.Name == volume }) {
				return true
			}
		}
	}
	return false
}

// resolve finds the volume that a claim is bound to.
func (s *Store) resolve(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (*corev1.PersistentVolume, error) {
	name := claimOf(pod, v)
	c, found, err := s.Source.Claim(ctx, pod.Namespace, name)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, fmt.Errorf("persistentvolumeclaim %q not found", name)
	case v.Ephemeral != nil && !metav1.IsControlledBy(c, pod):
		return nil, fmt.Errorf("PVC %s/%s was not created for pod %s/%s (pod is not owner)", c.Namespace, c.Name, pod.Namespace, pod.Name)
	case c.Status.Phase != corev1.ClaimBound || c.Spec.VolumeName == "":
		return nil, fmt.Errorf("PVC %s/%s is not bound", c.Namespace, c.Name)
	}
	pv, found, err := s.Source.Volume(ctx, c.Spec.VolumeName)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, fmt.Errorf("persistentvolume %q not found", c.Spec.VolumeName)
	case pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.UID != c.UID:
		return nil, fmt.Errorf("the bound PersistentVolume %s is not bound to PersistentVolumeClaim %s/%s", pv.Name, c.Namespace, c.Name)
	case len(pv.Spec.MountOptions) > 0:
		return nil, &setupError{"MountVolume.SetUp failed", pv.Name, errors.New("mount options are not supported for directories")}
	case pv.Spec.VolumeMode != nil && *pv.Spec.VolumeMode == corev1.PersistentVolumeBlock:
		return nil, &setupError{"MapVolume.SetUp failed", pv.Name, errors.New("the node has no raw block volumes")}
	}
	return pv, nil
}

// open says where a volume's directory is, and makes what the provisioner has promised.
func (s *Store) open(pv *corev1.PersistentVolume) (string, error) {
	fail := func(stage string, err error) (string, error) { return "", &setupError{stage, pv.Name, err} }
	switch {
	case api.IsLocalPath(pv):
		if node := api.LocalPathNode(pv); node != s.NodeName {
			return fail("MountVolume.NodeAffinity check failed", fmt.Errorf("the volume is on node %s", node))
		}
		if want := filepath.Join(s.Local, pv.Name); pv.Spec.Local.Path != want {
			return fail("MountVolume.NewMounter initialization failed", fmt.Errorf("path %q is not %q, where this node keeps it", pv.Spec.Local.Path, want))
		}
		if err := makeShared(pv.Spec.Local.Path); err != nil {
			return fail("MountVolume.SetUp failed", err)
		}
		return pv.Spec.Local.Path, nil
	case pv.Spec.Local != nil:
		if _, err := os.Stat(pv.Spec.Local.Path); errors.Is(err, fs.ErrNotExist) {
			return fail("MountVolume.NewMounter initialization failed", fmt.Errorf("path %q does not exist", pv.Spec.Local.Path))
		} else if err != nil {
			return fail("MountVolume.NewMounter initialization failed", err)
		}
		return pv.Spec.Local.Path, nil
	case pv.Spec.HostPath != nil:
		if err := checkHostPath(pv.Spec.HostPath); err != nil {
			return fail("MountVolume.SetUp failed", err)
		}
		return pv.Spec.HostPath.Path, nil
	}
	return fail("MountVolume.SetUp failed", errors.New("this kind of volume is not supported by the node"))
}

// makeShared makes a directory that whoever a container runs as may write. One that is there keeps the mode that its users gave it.
func makeShared(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o711); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o777); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	return os.Chmod(dir, 0o777) // the umask does not count
}

// linkTo makes link a symlink to target.
func linkTo(target, link string) error {
	if old, err := os.Readlink(link); err == nil && old == target {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		return err
	}
	next := link + ".next"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, next); err != nil {
		return err
	}
	return os.Rename(next, link)
}
