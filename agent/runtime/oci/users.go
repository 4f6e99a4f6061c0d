package oci

import (
	"fmt"
	"os"

	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// Pods with a user namespace of their own get rangeSize consecutive ids of the node each. The ranges in use are those in
// the pods' records: a range is written down with its pod before the namespace is made, and is free when the record is
// gone. Range 0 would be the node's own users.
const (
	rangeSize  = 1 << 16
	rangeFirst = rangeSize
	rangeLast  = 1<<32 - 2*rangeSize // the last id of all means "unchanged" to the kernel
)

// takeRange reserves the lowest free range for a pod, or returns the one that it has.
func (e *Executor) takeRange(uid string) (uint32, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	used := map[uint32]bool{}
	for base, owner := range e.ranges {
		if owner == uid {
			return base, nil
		}
		used[base] = true
	}
	for base := uint64(rangeFirst); base <= rangeLast; base += rangeSize {
		if !used[uint32(base)] {
			e.ranges[uint32(base)] = uid
			return uint32(base), nil
		}
	}
	return 0, fmt.Errorf("all %d ranges of user ids are in use", len(used))
}

func (e *Executor) giveBackRange(uid string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for base, owner := range e.ranges {
		if owner == uid {
			delete(e.ranges, base)
		}
	}
}

func idMappings(base uint32) []configs.IDMap {
	return []configs.IDMap{{ContainerID: 0, HostID: int64(base), Size: rangeSize}}
}

// cloneMapped makes a detached copy of the mount at path whose files belong, seen through it, to the user namespace: id 0 on
// disk is the namespace's root. Nobody writes through it.
func cloneMapped(path string, users *os.File) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("copying the mount of the layer %s: %w", path, err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP | unix.MOUNT_ATTR_RDONLY, Userns_fd: uint64(users.Fd())}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("mapping the users of the layer %s (this needs Linux 5.19 and a file system with id-mapped mounts): %w", path, err)
	}
	return fd, nil
}
