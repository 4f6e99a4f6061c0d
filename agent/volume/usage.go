package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	corev1 "k8s.io/api/core/v1"
)

// Limited says whether a pod has a volume whose use must be watched. What is in memory cannot grow past its limit.
func Limited(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if limited(&pod.Spec.Volumes[i]) {
			return true
		}
	}
	return false
}

func limited(v *corev1.Volume) bool {
	e := v.EmptyDir
	return e != nil && e.SizeLimit != nil && e.SizeLimit.Sign() > 0 && e.Medium == corev1.StorageMediumDefault
}

// Excess says of which volume the pod has used more than it may, in Kubernetes' words; "" if of none.
func (s *Store) Excess(pod *corev1.Pod) (string, error) {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if !limited(v) {
			continue
		}
		used, err := DiskUse(s.Dir(string(pod.UID), v.Name))
		if err != nil {
			return "", fmt.Errorf("measuring volume %q: %w", v.Name, err)
		}
		if used > v.EmptyDir.SizeLimit.Value() {
			return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, v.EmptyDir.SizeLimit.String()), nil
		}
	}
	return "", nil
}

// DiskUse is how many bytes a tree takes on disk. A file with several names counts once; what goes away meanwhile is no error.
func DiskUse(dir string) (total int64, err error) {
	type inode struct{ dev, ino uint64 }
	seen := map[inode]bool{}
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		if st.Nlink > 1 && !d.IsDir() {
			id := inode{st.Dev, st.Ino}
			if seen[id] {
				return nil
			}
			seen[id] = true
		}
		total += st.Blocks * 512
		return nil
	})
	return total, err
}
