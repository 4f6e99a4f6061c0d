package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

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
