package oci

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// Mounts that lie on other mounts have their place there.
func TestMountPoints(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got := mountPoints([]runtime.Mount{
		{Source: file, Target: "/etc/hosts"},
		{Source: file, Target: "/dev/termination-log"},
		{Source: dir, Target: "/data/"},
		{Source: file, Target: "/data/below/file"},
		{Source: dir, Target: "/database"},
		{FSType: "tmpfs", Target: "/tmp/../cache"},
		{Source: dir, Target: "/"},
	})
	want := []string{"/cache/", "/data/", "/database/", "/dev/", "/etc/hosts", "/proc/", "/sys/"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Mount points are not made in the layer that a container writes to, and what the image has comes first.
func TestMountPointsLayer(t *testing.T) {
	n := newNode(t)
	e := n.open()
	n.pod(e, runtime.SandboxSpec{PodUID: "p"})
	file := filepath.Join(n.dir, "hosts")
	if err := os.WriteFile(file, []byte("mounted"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"etc/own": "the image's", "link-to/x": ""} {
		path := filepath.Join(n.layer, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("link-to", filepath.Join(n.layer, "link")); err != nil {
		t.Fatal(err)
	}
	spec := n.spec("p", "c", "exec sleep 1000")
	spec.Mounts = []runtime.Mount{
		{Source: file, Target: "/etc/hosts"}, {Source: file, Target: "/etc/own"}, {Source: file, Target: "/link/y"}, {Target: "/scratch/deep", FSType: "tmpfs"},
	}
	n.add(e, spec)
	n.want(e, "c", "test $(cat /etc/hosts /etc/own /link/y /link-to/y) = mountedmountedmountedmounted && test -d /scratch/deep && test -f /link-to/x")
	if entries := n.upper("c"); !slices.Equal(entries, []string{"link-to", "link-to/y"}) { // through the link, the place is the image's
		t.Errorf("the container's own layer has %q", entries)
	}
	n.add(e, n.spec("p", "other", "exec sleep 1000"))
	n.want(e, "other", "test ! -e /etc/hosts && test ! -e /scratch && test \"$(cat /etc/own)\" = \"the image's\"")
	n.add(e, func() runtime.ContainerSpec {
		s := n.spec("p", "same", "exec sleep 1000")
		s.Mounts = spec.Mounts
		return s
	}())
	if dirs, err := entries(e.mountPointsDir()); err != nil || len(dirs) != 2 {
		t.Errorf("layers of mount points: %q %v, want 2", dirs, err)
	}
}

// upper lists what lies in a container's writable layer.
func (n *node) upper(id string) []string {
	n.t.Helper()
	root := filepath.Join(n.cfg.StateDir, "containers", id, "upper")
	var out []string
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if name := strings.TrimPrefix(path, root+"/"); name != path {
			out = append(out, name)
		}
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}
