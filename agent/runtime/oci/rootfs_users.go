package oci

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// A pod with users of its own cannot enter the node's private directories, so the mount points of its root file systems are
// in a public one, each in a directory that only the pod's root may enter. Mounting needs a path to the layers as
// well, which exists while it is being done.
const publicRoots = "/run/peapod"

// rootfs is where a container's root file system is mounted.
func (e *Executor) rootfs(r *containerRecord) string {
	if r.Rootfs != "" {
		return r.Rootfs
	}
	return filepath.Join(e.containerDir(r.Spec.ID), "rootfs")
}

// publicRoot is the mount point for a container of a pod with users of its own: below a name for this executor.
func (e *Executor) publicRoot(id string) string {
	sum := sha256.Sum256([]byte(e.cfg.StateDir))
	return filepath.Join(publicRoots, fmt.Sprintf("%x", sum[:6]), id, "rootfs")
}

// mountMappedRootfs is mountRootfs for a user namespace whose root is base on the node.
func mountMappedRootfs(dir, target string, layers []string, pause int, base uint32) error {
	users, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", pause))
	if err != nil {
		return fmt.Errorf("opening the pod's user namespace: %w", err)
	}
	defer users.Close()
	if err := makePublicRoot(target, base); err != nil {
		return fmt.Errorf("making the root file system: %w", err)
	}
	upper := filepath.Join(dir, "upper")
	if err := os.MkdirAll(upper, 0o755); err != nil {
		return fmt.Errorf("making the root file system: %w", err)
	}
	if err := os.Chown(upper, int(base), int(base)); err != nil {
		return fmt.Errorf("giving the root directory to the pod's root: %w", err)
	}
	mapped, err := attachMapped(dir, layers, users)
	if err == nil {
		err = mountRootfs(dir, target, mapped)
	}
	// The overlay keeps copies of its own; these were only names for it.
	return errors.Join(err, detachMapped(dir))
}

func makePublicRoot(target string, base uint32) error {
	own := filepath.Dir(target)
	if err := os.MkdirAll(filepath.Dir(own), 0o711); err != nil {
		return err
	}
	if err := os.MkdirAll(own, 0o700); err != nil {
		return err
	}
	if err := os.Chown(own, 0, int(base)); err != nil {
		return err
	}
	if err := os.Chmod(own, 0o710); err != nil {
		return err
	}
	return os.MkdirAll(target, 0o755)
}

// attachMapped mounts the mapped layers below dir/lower and lists them.
func attachMapped(dir string, layers []string, users *os.File) ([]string, error) {
	var out []string
	for i, layer := range layers {
		target := filepath.Join(dir, "lower", strconv.Itoa(i))
		if err := os.MkdirAll(target, 0o700); err != nil {
			return nil, fmt.Errorf("making the root file system: %w", err)
		}
		fd, err := cloneMapped(layer, users)
		if err != nil {
			return nil, err
		}
		err = unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
		unix.Close(fd)
		if err != nil {
			return nil, fmt.Errorf("mounting the layer %s: %w", layer, err)
		}
		out = append(out, target)
	}
	return out, nil
}

// detachMapped undoes attachMapped, also that of an agent that died in the middle. It never enters what is mounted there.
func detachMapped(dir string) error {
	lower := filepath.Join(dir, "lower")
	names, err := entries(lower)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := unmount(filepath.Join(lower, n)); err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(lower, n)); err != nil {
			return err
		}
	}
	return os.Remove(lower)
}

// unmountRootfs takes a container's root file system away, and its mount point if that is in the public directory.
func (e *Executor) unmountRootfs(r *containerRecord) error {
	if err := unmount(e.rootfs(r)); err != nil {
		return err
	}
	if err := detachMapped(e.containerDir(r.Spec.ID)); err != nil {
		return err
	}
	if r.Rootfs == "" {
		return nil
	}
	for _, dir := range []string{r.Rootfs, filepath.Dir(r.Rootfs)} {
		if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	_ = os.Remove(filepath.Dir(filepath.Dir(r.Rootfs))) // it is in use if another container's is below it
	return nil
}
