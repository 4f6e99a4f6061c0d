package oci

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// PodCgroups makes, limits, reads and removes the cgroups of pods, for an executor that has another program make what
// lies in them.
type PodCgroups struct{ layout cgroupLayout }

// NewPodCgroups knows the cgroups below parent, such as peapod/NODE.
func NewPodCgroups(parent string) PodCgroups { return PodCgroups{newCgroupLayout(parent)} }

// Path of a pod's cgroup, or of one below it, from the root of the hierarchies.
func (p PodCgroups) Path(uid, below string) string { return p.layout.container(uid, below) }

// Make makes a pod's cgroup with its limits; without any, whoever makes one below makes it in passing.
func (p PodCgroups) Make(uid string, r runtime.Resources) error { return p.layout.makePod(uid, r) }

// Change gives an existing cgroup other limits. A memory limit below what is in use is refused.
func (p PodCgroups) Change(path string, r runtime.Resources) error { return p.layout.change(path, r) }

// Usage of a cgroup and those below it.
func (p PodCgroups) Usage(path string) (runtime.Usage, error) { return p.layout.usage(path) }

// Remove kills what is left in a pod and removes its cgroups. One that is not there is no error.
func (p PodCgroups) Remove(uid string) error {
	name := p.layout.pod(uid)
	if err := p.layout.killAll(name); err != nil {
		return err
	}
	return p.layout.remove(name)
}

// Pods are the UIDs of all pods that have a cgroup in any hierarchy.
func (p PodCgroups) Pods() ([]string, error) {
	roots, err := p.layout.roots()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, r := range roots {
		found, err := os.ReadDir(filepath.Join(r, p.layout.pod("")))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, f := range found {
			if f.IsDir() {
				out = append(out, f.Name())
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
