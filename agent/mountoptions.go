package agent

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// mountOptions sets how a volume is mounted: read-only all the way down (KEP-3857), and which later mounts travel.
func (a *Agent) mountOptions(m *runtime.Mount, vm *corev1.VolumeMount) error {
	deep, err := a.recursiveReadOnly(vm)
	if err != nil {
		return err
	}
	m.RecursiveReadOnly = deep != nil && *deep == corev1.RecursiveReadOnlyEnabled
	if vm.MountPropagation == nil {
		return nil
	}
	switch *vm.MountPropagation {
	case corev1.MountPropagationNone:
	case corev1.MountPropagationHostToContainer:
		m.Propagation = runtime.PropagateFromHost
	case corev1.MountPropagationBidirectional:
		m.Propagation = runtime.PropagateBoth
	default:
		return fmt.Errorf("invalid mountPropagation mode: %q", *vm.MountPropagation)
	}
	return nil
}

// recursiveReadOnly is what becomes of a mount's wish on this node, as its status says it: Enabled, Disabled, or nil for
// mounts that nobody wants read-only.
func (a *Agent) recursiveReadOnly(vm *corev1.VolumeMount) (*corev1.RecursiveReadOnlyMode, error) {
	if !vm.ReadOnly {
		return nil, nil
	}
	mode := corev1.RecursiveReadOnlyDisabled
	if vm.RecursiveReadOnly != nil {
		switch *vm.RecursiveReadOnly {
		case corev1.RecursiveReadOnlyIfPossible:
			if a.cfg.RecursiveReadOnly {
				mode = corev1.RecursiveReadOnlyEnabled
			}
		case corev1.RecursiveReadOnlyEnabled:
			if !a.cfg.RecursiveReadOnly {
				return nil, errors.New("recursive read-only mount is not supported by the runtime handler: this kernel is older than 5.12")
			}
			mode = corev1.RecursiveReadOnlyEnabled
		}
	}
	return &mode, nil
}

// volumeMountStatus lists a container's mounts as they were made.
func (a *Agent) volumeMountStatus(c *corev1.Container) []corev1.VolumeMountStatus {
	var out []corev1.VolumeMountStatus
	for i := range c.VolumeMounts {
		vm := &c.VolumeMounts[i]
		deep, err := a.recursiveReadOnly(vm)
		if err != nil {
			deep = nil // then the container was not made
		}
		out = append(out, corev1.VolumeMountStatus{Name: vm.Name, MountPath: vm.MountPath, ReadOnly: vm.ReadOnly, RecursiveReadOnly: deep})
	}
	return out
}
