package oci

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// kernelMounts are where every container has file systems of the kernel's.
var kernelMounts = []string{"/dev", "/proc", "/sys"}

// mountPointsLayer gives a layer of empty directories and files for below all others, where a container's mounts are to be. What the image has
// lies above it and counts; what it does not have need not be made anew, first in the layer that the container writes to and
// then gone with it. The same set of mounts has the same layer. It is "" if there are too many, or in the way of an error: then libcontainer
// makes the mount points, as it did before.
func (e *Executor) mountPointsLayer(mounts []runtime.Mount) string {
	points := mountPoints(mounts)
	sum := sha256.Sum256([]byte(strings.Join(points, "\x00")))
	all := e.mountPointsDir()
	dir := filepath.Join(all, hex.EncodeToString(sum[:12]))
	if exists(dir) {
		return dir
	}
	if err := makeMountPoints(all, dir, points); err != nil {
		e.log.Debug("the layer of a container's mount points is left out", "error", err)
		return ""
	}
	return dir
}

func (e *Executor) mountPointsDir() string { return filepath.Join(e.cfg.StateDir, "mountpoints") }

// clearMountPoints begins anew while no container's root file system can have a layer in it.
func (e *Executor) clearMountPoints() error {
	if len(e.containers) == 0 {
		if err := os.RemoveAll(e.mountPointsDir()); err != nil {
			return fmt.Errorf("removing the layers of mount points: %w", err)
		}
	}
	return os.MkdirAll(e.mountPointsDir(), 0o711)
}

// mountPoints lists the places of a container's mounts, sorted, directories with a slash at their end: only those that lie on the root
// file system, since all others are to be found on a mount.
func mountPoints(mounts []runtime.Mount) []string {
	targets := map[string]bool{} // true for a directory
	for _, k := range kernelMounts {
		targets[k] = true
	}
	for _, m := range mounts {
		st, err := os.Stat(m.Source)
		targets[filepath.Clean(m.Target)] = m.FSType != "" || err == nil && st.IsDir()
	}
	var out []string
	for target, isDir := range targets {
		if target == "/" || onMount(target, targets) {
			continue
		}
		if isDir {
			target += "/"
		}
		out = append(out, target)
	}
	slices.Sort(out)
	return out
}

func onMount(target string, targets map[string]bool) bool {
	for up := filepath.Dir(target); up != "/"; up = filepath.Dir(up) {
		if _, ok := targets[up]; ok {
			return true
		}
	}
	return false
}

// makeMountPoints makes a layer as a whole or not at all.
func makeMountPoints(all, dir string, points []string) error {
	others, err := os.ReadDir(all)
	if err != nil {
		return err
	}
	if len(others) >= mountPointsMax {
		return fmt.Errorf("there are %d others", len(others))
	}
	tmp, err := os.MkdirTemp(all, "new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	for _, p := range points {
		if err := makeMountPoint(filepath.Join(tmp, p), strings.HasSuffix(p, "/")); err != nil {
			return err
		}
	}
	if err := os.Rename(tmp, dir); err != nil && !exists(dir) { // another start may have been faster
		return err
	}
	return nil
}

func makeMountPoint(path string, isDir bool) error {
	if isDir {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, nil, 0o644)
}
