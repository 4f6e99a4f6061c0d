package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent/runtime"
)

// Jobs may block, so they run beside the worker's goroutine and see only copies of what it owns.

// configError is a fault in what the pod asks for, which heals when somebody mends it.
type configError struct{ err error }

func (e *configError) Error() string { return e.err.Error() }
func (e *configError) Unwrap() error { return e.err }

// stageError says which step of making a sandbox failed, as the reason of an event.
type stageError struct {
	reason string
	err    error
}

func (e *stageError) Error() string { return e.err.Error() }
func (e *stageError) Unwrap() error { return e.err }

func sandboxReason(err error) string {
	var s *stageError
	if errors.As(err, &s) {
		return s.reason
	}
	return "FailedCreatePodSandBox"
}

// slot waits until this job may start something.
func (a *Agent) slot(ctx context.Context) (release func(), err error) {
	select {
	case a.slots <- struct{}{}:
		return func() { <-a.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// jobSandbox prepares the pod's volumes, sandbox, address and etc files.
func (w *worker) jobSandbox() func(context.Context) any {
	pod, dead := w.life.allocatedPod(), w.life.deadFrame
	return func(ctx context.Context) any {
		if dead {
			if err := w.a.cfg.Executor.RemoveSandbox(ctx, string(pod.UID)); err != nil {
				return evSandbox{err: fmt.Errorf("removing what is left of the pod's sandbox: %w", err)}
			}
		}
		ips, err := w.a.makeSandbox(ctx, pod)
		return evSandbox{ips: ips, err: err}
	}
}

func (a *Agent) makeSandbox(ctx context.Context, pod *corev1.Pod) ([]netip.Addr, error) {
	if a.cfg.DataDir != "" {
		if err := a.vols.Prepare(ctx, pod); err != nil {
			return nil, &stageError{"FailedMount", err}
		}
	}
	release, err := a.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	spec, err := a.sandboxSpec(pod)
	if err == nil {
		spec.Handler, err = a.handlerOf(ctx, pod)
	}
	if err != nil {
		return nil, fmt.Errorf("Failed to create pod sandbox: %w", err)
	}
	sb, err := a.cfg.Executor.StartSandbox(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("Failed to create pod sandbox: %w", err)
	}
	var ips []netip.Addr
	if !pod.Spec.HostNetwork {
		if ips, err = a.cfg.Network.Attach(ctx, string(pod.UID), sb.NetNS); err != nil {
			return nil, fmt.Errorf("Failed to create pod sandbox: giving the pod an address: %w", err)
		}
		if err := a.shape(ctx, pod, sb.NetNS); err != nil {
			return nil, fmt.Errorf("Failed to create pod sandbox: %w", err)
		}
	}
	if err := a.writeEtc(pod, ips); err != nil {
		return nil, err
	}
	return ips, nil
}

func (a *Agent) sandboxSpec(pod *corev1.Pod) (runtime.SandboxSpec, error) {
	host, err := a.kernelHostname(pod)
	if err != nil {
		return runtime.SandboxSpec{}, err
	}
	spec := runtime.SandboxSpec{
		PodUID: string(pod.UID), Namespace: pod.Namespace, Name: pod.Name, Hostname: host,
		HostNetwork: pod.Spec.HostNetwork, HostPID: pod.Spec.HostPID, HostIPC: pod.Spec.HostIPC,
		SharePID: isTrue(pod.Spec.ShareProcessNamespace), OwnUsers: pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers,
		Resources: podResources(pod),
	}
	spec.Resources.PidsMax = a.cfg.PodPidsMax
	spec.Privileged = anyPrivileged(pod)
	if sc := pod.Spec.SecurityContext; sc != nil && len(sc.Sysctls) > 0 {
		spec.Sysctls = map[string]string{}
		for _, s := range sc.Sysctls {
			spec.Sysctls[dotted(s.Name)] = s.Value
		}
	}
	return spec, nil
}

// handlerOf is what the pod's RuntimeClass calls the way to run it.
func (a *Agent) handlerOf(ctx context.Context, pod *corev1.Pod) (string, error) {
	name := pod.Spec.RuntimeClassName
	if name == nil || *name == "" {
		return "", nil
	}
	class, found, err := objects{a.cfg.ControlPlane}.RuntimeClass(ctx, *name)
	if err != nil {
		return "", err
	}
	if !found {
		return "", fmt.Errorf("runtimeclass.node.k8s.io %q not found", *name)
	}
	return class.Handler, nil
}

// notStarted notes why a container could not be started, and when it is tried again.
func (w *worker) notStarted(c *container, err error, now time.Time) {
	var img *ImageError
	var cfg *configError
	switch {
	case w.life.cancelled || errors.Is(err, context.Canceled):
		c.unbegin()
	case errors.Is(err, runtime.ErrNoLease): // it ended since it was there
		c.unbegin()
		c.notBefore = now.Add(leasePause)
	case errors.As(err, &img):
		w.imageFailed(c, img, now)
	case errors.As(err, &cfg):
		c.unbegin()
		c.retry.next(configRetryFirst, configRetryMax)
		c.notBefore = now.Add(c.retry.Delay)
		c.waitReason, c.waitMessage = "CreateContainerConfigError", err.Error()
		w.event(corev1.EventTypeWarning, "Failed", "Error: "+err.Error(), c)
	default:
		c.failedStart(now, err.Error())
		w.event(corev1.EventTypeWarning, "Failed", "Error: "+err.Error(), c)
		w.backOffEvent(c)
	}
}

func (w *worker) imageFailed(c *container, err *ImageError, now time.Time) {
	c.unbegin()
	c.retry.next(backoffFirst, backoffMax)
	c.notBefore = now.Add(c.retry.Delay)
	c.waitReason, c.waitMessage = err.Reason, err.Message
	c.lacks = cmp.Or(err.Ref, c.spec.Image)
	about := c.whoLacks()
	switch err.Reason {
	case ReasonInvalidImageName:
		w.event(corev1.EventTypeWarning, "InspectFailed", err.Message, about)
	case ReasonErrImageNeverPull:
		w.event(corev1.EventTypeWarning, ReasonErrImageNeverPull, err.Message, about)
	default:
		w.event(corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %s", c.lacks, err.Message), about)
		c.pullFailed = now
	}
	w.event(corev1.EventTypeWarning, "Failed", "Error: "+err.Reason, about)
}

// whoLacks is what events about the image are about: the container, or nil for its pod, whose volumes are.
func (c *container) whoLacks() *container {
	if c.lacks == c.spec.Image {
		return c
	}
	return nil
}

// jobStop runs the preStop hook (once), has the pod leave its services meanwhile, and sends the stop signal. Its hook context ends at the
// deadline.
func (w *worker) jobStop(c *container) func(ctx, hookCtx context.Context) any {
	hook := c.spec.Lifecycle
	target := hookTarget{w.life.pod, c.spec, c.id, primary(w.life.podIPs(w.a.cfg.NodeIPs))}
	path := c.path()
	run := hook != nil && hook.PreStop != nil && !c.hooked && !w.life.removed && c.deadline.After(time.Now())
	c.hooked = c.hooked || run
	w.save()
	deadline, leaves := c.deadline, !w.life.removed
	return func(ctx, hookCtx context.Context) any {
		var left sync.WaitGroup
		if leaves {
			left.Go(func() { w.a.withdraw(hookCtx, target.pod, deadline) })
		}
		if run {
			if err := w.a.runHook(hookCtx, target, hook.PreStop); err != nil && ctx.Err() == nil {
				w.a.events.record(target.pod, path, corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
			}
		}
		left.Wait()
		sig := w.a.stopSignal(ctx, target)
		if err := w.a.cfg.Executor.Signal(ctx, target.id, sig); err != nil && ctx.Err() == nil {
			w.a.log.Warn("asking a container to end", "pod", target.pod.UID, "container", target.spec.Name, "error", err)
		}
		return evStopSent{c}
	}
}

// stopSignal is the container's lifecycle.stopSignal, or its image's, or TERM.
func (a *Agent) stopSignal(ctx context.Context, t hookTarget) syscall.Signal {
	if l := t.spec.Lifecycle; l != nil && l.StopSignal != nil {
		return parseSignal(string(*l.StopSignal))
	}
	if t.spec.Image == "" {
		return syscall.SIGTERM
	}
	img, ok := a.cfg.Images.Lookup(t.spec.Image)
	if !ok {
		return syscall.SIGTERM
	}
	return parseSignal(img.StopSignal)
}

// jobTeardown removes sandbox, address and volumes; they may be gone already.
func (w *worker) jobTeardown() func(context.Context) any {
	uid, host := string(w.uid), w.life.pod.Spec.HostNetwork
	return func(ctx context.Context) any {
		w.a.fencing.forget(w.uid)
		var detach error
		if !host {
			detach = w.a.cfg.Network.Detach(ctx, uid)
		}
		if err := errors.Join(detach, w.a.cfg.Executor.RemoveSandbox(ctx, uid)); err != nil || w.a.cfg.DataDir == "" {
			return evTornDown{err}
		}
		return evTornDown{w.a.vols.Release(uid)}
	}
}

// refreshVolumes has the pod's ConfigMaps and Secrets read again when it is time.
func (w *worker) refreshVolumes(ctx context.Context, now, wake time.Time) time.Time {
	if w.refresh.IsZero() || w.life.ending() || !w.a.vols.Refreshable(w.life.pod) || w.a.cfg.DataDir == "" {
		return wake
	}
	if !now.Before(w.refresh) {
		w.refresh = now.Add(volumeRefresh)
		pod := w.life.pod
		w.spawn(ctx, func(ctx context.Context) any {
			if err := w.a.vols.Refresh(ctx, pod); err != nil && ctx.Err() == nil {
				w.a.log.Warn("reading a pod's volumes again", "pod", pod.UID, "error", err)
			}
			return evWake{}
		})
	}
	if wake.IsZero() || w.refresh.Before(wake) {
		return w.refresh
	}
	return wake
}

func (w *worker) removeFiles() {
	if w.a.cfg.DataDir == "" {
		return
	}
	if err := errors.Join(w.a.vols.Remove(string(w.uid)), os.RemoveAll(w.a.logDir(w.life.pod))); err != nil {
		w.a.log.Warn("removing a pod's files", "pod", w.podTag(), "error", err)
	}
}
