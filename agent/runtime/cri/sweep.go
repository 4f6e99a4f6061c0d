package cri

import (
	"errors"
	"fmt"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// sweep removes sandboxes and cgroups of pods that nobody here knows: when an agent is killed, its calls may go on without
// it, and end after the next agent has looked.
func (e *Executor) sweep() error {
	r, err := e.runtime.ListPodSandbox(e.ctx, &cri.ListPodSandboxRequest{Filter: &cri.PodSandboxFilter{LabelSelector: e.ours()}})
	if err != nil {
		return fmt.Errorf("listing the runtime's sandboxes: %w", err)
	}
	uids, err := e.cgroups.Pods()
	faults := []error{err}
	for _, s := range r.Items {
		uids = append(uids, s.Labels[labelUID])
	}
	for _, uid := range uids {
		if _, err := e.findPod(uid); err != nil {
			faults = append(faults, e.sweepPod(uid))
		}
	}
	return errors.Join(faults...)
}

// sweepPod removes what is left of a pod, unless somebody is about to make it.
func (e *Executor) sweepPod(uid string) error {
	p := e.podFor(uid)
	if !p.work.TryLock() {
		return nil
	}
	defer p.work.Unlock()
	if id, _ := p.known(); id != "" || p.removed {
		return nil
	}
	if err := e.removeSandbox(e.ctx, p, uid); err != nil {
		return fmt.Errorf("pod %s: %w", uid, err)
	}
	p.removed = true // see RemoveSandbox
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.pods, uid)
	return nil
}
