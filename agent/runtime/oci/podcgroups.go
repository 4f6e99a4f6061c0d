package oci

import "github.com/peapod-sh/peapod/agent/runtime"

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
