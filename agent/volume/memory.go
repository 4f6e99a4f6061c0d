package volume

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// memorySize is how much a directory in memory may hold, in bytes: what its volume says, but no more than its pod may use, or the node
// has for pods. 0 leaves it to the kernel.
func (s *Store) memorySize(pod *corev1.Pod, e *corev1.EmptyDirVolumeSource) int64 {
	sizes := []int64{s.NodeAllocatable.Memory().Value()}
	if s.MemoryLimit != nil {
		sizes = append(sizes, s.MemoryLimit(pod))
	}
	if e.SizeLimit != nil {
		sizes = append(sizes, e.SizeLimit.Value())
	}
	least := int64(0)
	for _, n := range sizes {
		if n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	return least
}

// mountMemory puts a directory into memory, once. It is never swapped to disk where the kernel can promise that (Linux 6.4).
func mountMemory(dir string, bytesMax int64) error {
	mounted, err := isMountPoint(dir)
	if err != nil || mounted {
		return err
	}
	size := ""
	if bytesMax > 0 {
		size = fmt.Sprintf("size=%d", bytesMax)
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV
	err = unix.Mount("tmpfs", dir, "tmpfs", flags, "noswap,"+size)
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("tmpfs", dir, "tmpfs", flags, size)
	}
	if err != nil {
		return fmt.Errorf("mounting memory at %s: %w", dir, err)
	}
	return nil
}

// isMountPoint compares a directory's device with its parent's. Every mount that is made here is a file system of its own.
func isMountPoint(dir string) (bool, error) {
	var own, parent unix.Stat_t
	if err := unix.Lstat(dir, &own); err != nil {
		return false, err
	}
	if err := unix.Stat(filepath.Dir(dir), &parent); err != nil {
		return false, err
	}
	return own.Dev != parent.Dev, nil
}

// unmount detaches whatever is mounted at a path. Nothing there is no error.
func unmount(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unmounting %s: %w", path, err)
		}
	}
}
