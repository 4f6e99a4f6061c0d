package volume

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	corev1 "k8s.io/api/core/v1"
)

// The rights that a pod's fsGroup gets: on what is written, on what is only read, and on directories.
const (
	groupWrites   = 0o660
	groupReads    = 0o440
	groupSearches = 0o110
)

func fsGroup(pod *corev1.Pod) int {
	if sc := pod.Spec.SecurityContext; sc != nil && sc.FSGroup != nil {
		return int(*sc.FSGroup)
	}
	return -1
}

// giveToGroup lets the group read and write everything below dir, and own what is made there from now on. With the policy OnRootMismatch
// it looks at dir itself only, if that is as it should be. Symlinks change hands, what they point to does not.
func giveToGroup(dir string, gid int, policy *corev1.PodFSGroupChangePolicy) error {
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if policy != nil && *policy == corev1.FSGroupChangeOnRootMismatch && belongsTo(st, gid) {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := os.Lchown(path, -1, gid); err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Mode()&fs.ModeSymlink != 0 {
			return err
		}
		return os.Chmod(path, groupMode(info.Mode(), groupWrites))
	})
}

// groupMode adds the group's rights to a mode.
func groupMode(mode, rights fs.FileMode) fs.FileMode {
	mode |= rights
	if mode.IsDir() {
		mode |= fs.ModeSetgid | groupSearches
	}
	return mode & (fs.ModePerm | fs.ModeSetgid | fs.ModeSetuid | fs.ModeSticky)
}

func belongsTo(st fs.FileInfo, gid int) bool {
	own, ok := st.Sys().(*syscall.Stat_t)
	const want = groupWrites | groupSearches
	return ok && int(own.Gid) == gid && st.Mode().Perm()&want == want && st.Mode()&fs.ModeSetgid != 0
}
