package oci

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"syscall"
	"time"

	"github.com/peapod-sh/peapod/agent/runtime"
	"github.com/peapod-sh/peapod/agent/supervisor"
)

var _ runtime.Guard = (*Executor)(nil)

// GuardPod implements runtime.Guard.
func (e *Executor) GuardPod(uid string, until time.Duration) error {
	roots, err := e.cgroups.roots()
	if err != nil {
		return err
	}
	dirs := make([]string, len(roots))
	for i, r := range roots {
		dirs[i] = path.Join(r, e.cgroups.pod(uid))
	}
	err = e.visor.do(func(c *supervisor.Client) error { return c.Guard(uid, until, dirs) })
	if err != nil {
		return fmt.Errorf("guarding pod %s: %w", uid, leaseError(err))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.guarded[uid] = true
	return nil
}

// leaseError turns the supervisor's word for it into ours.
func leaseError(err error) error {
	if errors.Is(err, syscall.ESTALE) {
		return runtime.ErrNoLease
	}
	return err
}

// ExtendLease implements runtime.Guard.
func (e *Executor) ExtendLease(until time.Duration) (map[string]bool, error) {
	var pods map[string]bool
	err := e.visor.do(func(c *supervisor.Client) (err error) {
		pods, err = c.Lease(until)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("extending the lease: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for uid := range pods {
		e.guarded[uid] = true
	}
	return pods, nil
}

// unguard forgets a pod of which nothing is left.
func (e *Executor) unguard(uid string) error {
	e.mu.Lock()
	guarded := e.guarded[uid]
	delete(e.guarded, uid)
	e.mu.Unlock()
	if !guarded {
		return nil
	}
	return e.visor.do(func(c *supervisor.Client) error { return c.Unguard(uid) })
}

// openGuarded has the supervisor open the gate of a guarded container, which it does only while there is a lease: this process
// may be stopped between any look at the lease and an opening of its own.
func (e *Executor) openGuarded(c *container) error {
	gate := filepath.Join(e.runcRoot(), c.id, gateName)
	if !exists(gate) {
		return nil
	}
	err := e.visor.do(func(v *supervisor.Client) error { return v.Open(c.podUID, gate, gateHold(c.id)) })
	if err != nil {
		return fmt.Errorf("opening the gate of a container: %w", leaseError(err))
	}
	return nil
}
