package podtest

import (
	"context"
	"testing"

	"github.com/peapod-sh/peapod/agent/runtime/runtimetest/containerd"
)

// newContainerd prepares one that pulls docker.io's images from a registry of the test's.
func newContainerd(t *testing.T, mirror string) *containerd.Daemon {
	t.Helper()
	d, err := containerd.New(mirror)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeContainerd(t, d) })
	return d
}

// loadPause gives it the image of which it makes sandboxes.
func loadPause(t *testing.T, d *containerd.Daemon) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := d.Load(ctx); err != nil {
		t.Fatal(err)
	}
}

// removeContainerd ends it, and fails the test if anything of it is left. A shim that it has lost is its own affair.
func removeContainerd(t *testing.T, d *containerd.Daemon) {
	if t.Failed() {
		t.Logf("containerd says: %s", d.Log())
	}
	lost, err := d.Remove()
	if err != nil {
		t.Error(err)
	}
	if len(lost) > 0 {
		t.Logf("containerd has lost the shims %d", lost)
	}
}
