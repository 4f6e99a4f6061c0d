package oci

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/peapod-sh/peapod/agent/runtime"
)

func propagationFlags(p runtime.Propagation) int {
	switch p {
	case runtime.PropagateBoth:
		return unix.MS_SHARED | unix.MS_REC
	case runtime.PropagateFromHost:
		return unix.MS_SLAVE | unix.MS_REC
	}
	return unix.MS_PRIVATE | unix.MS_REC
}

// rootPropagation is how the container's mount namespace starts as a copy of the node's: what is made private there cannot be
// shared by a volume later.
func rootPropagation(mounts []runtime.Mount) int {
	most := runtime.PropagateNone
	for _, m := range mounts {
		most = max(most, m.Propagation)
	}
	return propagationFlags(most)
}

// checkShared refuses a propagation that the node's mounts cannot give: nothing would arrive, and nobody would know why.
func checkShared(m runtime.Mount) error {
	source, err := filepath.EvalSymlinks(m.Source)
	if err != nil {
		return fmt.Errorf("the source of the mount at %s: %w", m.Target, err)
	}
	list, err := mountinfo.GetMounts(mountinfo.ParentsFilter(source))
	if err != nil {
		return fmt.Errorf("reading the node's mounts: %w", err)
	}
	return sharedEnough(list, source, m.Propagation)
}

func sharedEnough(list []*mountinfo.Info, source string, p runtime.Propagation) error {
	var on *mountinfo.Info
	for _, i := range list { // later ones cover earlier ones at the same place
		if on == nil || len(i.Mountpoint) >= len(on.Mountpoint) {
			on = i
		}
	}
	if on == nil {
		return fmt.Errorf("path %q is on no mount that is known", source)
	}
	for f := range strings.FieldsSeq(on.Optional) {
		if strings.HasPrefix(f, "shared:") || p == runtime.PropagateFromHost && strings.HasPrefix(f, "master:") {
			return nil
		}
	}
	if p == runtime.PropagateFromHost {
		return fmt.Errorf("path %q is mounted on %q but it is not a shared or slave mount", source, on.Mountpoint)
	}
	return fmt.Errorf("path %q is mounted on %q but it is not a shared mount", source, on.Mountpoint)
}

// CanRecurseReadOnly tells whether this kernel can make a mount and all below it read-only.
func CanRecurseReadOnly() bool {
	err := unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	return err != unix.ENOSYS
}
