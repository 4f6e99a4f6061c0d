package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	devices "github.com/opencontainers/cgroups/devices/config"
	"golang.org/x/sys/unix"
)

// hostDevices are those that the machine has now, for a privileged container.
func hostDevices() ([]*devices.Device, error) {
	var out []*devices.Device
	err := filepath.WalkDir("/dev", func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it went while we looked
		}
		if err != nil {
			return err
		}
		if d.IsDir() && ownMount(path) {
			return filepath.SkipDir
		}
		if d.Type()&fs.ModeDevice == 0 || path == "/dev/console" {
			return nil
		}
		dev, err := deviceAt(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		out = append(out, dev)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the machine's devices: %w", err)
	}
	return out, nil
}

// ownMount names what the container gets of its own below /dev.
func ownMount(path string) bool {
	for _, d := range []string{"/dev/pts", "/dev/shm", "/dev/fd", "/dev/mqueue", "/dev/.lxc"} {
		if path == d || strings.HasPrefix(path, d+"/") {
			return true
		}
	}
	return false
}

func deviceAt(path string) (*devices.Device, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return nil, err
	}
	kind := devices.BlockDevice
	if st.Mode&unix.S_IFMT == unix.S_IFCHR {
		kind = devices.CharDevice
	}
	return &devices.Device{
		Path: path, FileMode: fs.FileMode(st.Mode & 0o777), Uid: st.Uid, Gid: st.Gid,
		Rule: devices.Rule{
			Type: kind, Major: int64(unix.Major(uint64(st.Rdev))), Minor: int64(unix.Minor(uint64(st.Rdev))),
			Permissions: "rwm", Allow: true,
		},
	}, nil
}
