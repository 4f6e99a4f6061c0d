package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mountRootfs stacks the layers (lowest first) under a fresh writable one in dir and mounts them at target.
func mountRootfs(dir, target string, layers []string) error {
	if len(layers) == 0 || len(layers) > layersMax {
		return fmt.Errorf("an image with %d layers: 1 to %d can be mounted", len(layers), layersMax)
	}
	for _, d := range []string{filepath.Join(dir, "upper"), filepath.Join(dir, "work"), target} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("making the root file system: %w", err)
		}
	}
	dirs := append(reversed(layers), filepath.Join(dir, "upper"), filepath.Join(dir, "work"))
	options, plain := overlayOptions(dirs)
	if !plain {
		files, names, err := openDirs(dirs)
		if err != nil {
			return err
		}
		defer closeFiles(files)
		options, _ = overlayOptions(names)
	}
	if len(options) > optionsBytesMax {
		return fmt.Errorf("an image with %d layers does not fit into a mount's options (%d bytes)", len(layers), optionsBytesMax)
	}
	if err := unix.Mount("overlay", target, "overlay", 0, options); err != nil {
		return fmt.Errorf("mounting the root file system (overlay of %d layers): %w", len(layers), err)
	}
	return nil
}

// overlayOptions spells the mount's options from lower directories, topmost first, followed by upper and
// work. It is not plain when a name holds what the kernel would take for syntax, or all are too long.
func overlayOptions(dirs []string) (options string, plain bool) {
	n := len(dirs) - 2
	options = "lowerdir=" + strings.Join(dirs[:n], ":") + ",upperdir=" + dirs[n] + ",workdir=" + dirs[n+1]
	for _, d := range dirs {
		if strings.ContainsAny(d, `,:\`) {
			return options, false
		}
	}
	return options, len(options) <= optionsBytesMax
}

// openDirs gives every directory a short name without syntax in it, /proc/self/fd/N.
func openDirs(dirs []string) ([]*os.File, []string, error) {
	var files []*os.File
	names := make([]string, len(dirs))
	for i, d := range dirs {
		fd, err := unix.Open(d, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			closeFiles(files)
			return nil, nil, fmt.Errorf("opening the layer %s: %w", d, err)
		}
		files = append(files, os.NewFile(uintptr(fd), d))
		names[i] = fmt.Sprintf("/proc/self/fd/%d", fd)
	}
	return files, names, nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

func reversed(s []string) []string {
	out := make([]string, 0, len(s)+2)
	for i := len(s) - 1; i >= 0; i-- {
		out = append(out, s[i])
	}
	return out
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
