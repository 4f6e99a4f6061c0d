package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// imageLayersMax bounds an image volume's layers; the kernel stacks no more than 500.
const imageLayersMax = 500

// PrepareImages makes the image volumes that a container mounts; what its own image may lack, they may lack. It may be called again: what is
// mounted stays what it is.
func (s *Store) PrepareImages(ctx context.Context, pod *corev1.Pod, c *corev1.Container) error {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		mounted := slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == v.Name })
		if v.Image == nil || !mounted {
			continue
		}
		if err := s.image(ctx, pod, v); err != nil {
			return &setupError{"MountVolume.SetUp failed", v.Name, err}
		}
	}
	return nil
}

// image mounts an image's files, read-only, with nothing to be executed (KEP-4639).
func (s *Store) image(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) error {
	if s.Layers == nil {
		return errors.New("the node has no images for volumes")
	}
	dir := s.Dir(string(pod.UID), v.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if mounted, err := isMountPoint(dir); err != nil || mounted {
		return err
	}
	layers, err := s.Layers(ctx, pod, v.Image)
	if err != nil {
		return err
	}
	return mountLayers(dir, layers)
}

// mountLayers stacks directories, lowest first, with nothing writable above them. Each is named by its descriptor, so that neither their
// names' lengths nor what is in them count.
func mountLayers(dir string, layers []string) error {
	if len(layers) == 0 || len(layers) > imageLayersMax {
		return fmt.Errorf("an image with %d layers: 1 to %d can be mounted", len(layers), imageLayersMax)
	}
	// An overlay without a writable layer must have two others; the lowest is empty.
	empty := filepath.Join(filepath.Dir(filepath.Dir(dir)), "empty")
	if err := os.MkdirAll(empty, 0o755); err != nil {
		return err
	}
	var names []string
	for _, l := range append([]string{empty}, layers...) {
		fd, err := unix.Open(l, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("opening the layer %s: %w", l, err)
		}
		defer unix.Close(fd)
		names = append([]string{fmt.Sprintf("/proc/self/fd/%d", fd)}, names...)
	}
	options := "lowerdir=" + strings.Join(names, ":")
	if len(options) >= os.Getpagesize() {
		return fmt.Errorf("an image with %d layers does not fit into a mount's options", len(layers))
	}
	if err := unix.Mount("overlay", dir, "overlay", unix.MS_RDONLY|unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mounting the image (overlay of %d layers): %w", len(layers), err)
	}
	return nil
}
