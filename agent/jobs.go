package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// jobStart has one container's image, configuration and process ready.
func (w *worker) jobStart(c *container) func(context.Context) any {
	pod := w.life.allocatedPod()
	s := start{a: w.a, pod: pod, spec: findSpec(pod, c.spec.Name), id: c.id, attempt: c.starts - 1, ips: w.life.podIPs(w.a.cfg.NodeIPs), path: c.path(), target: w.life.targetOf(c)}
	if c.last != nil {
		s.stale = []string{trimID(c.last.ContainerID)}
	}
	return func(ctx context.Context) any {
		ev := evStarted{c: c}
		ev.image, ev.made, ev.err = s.run(ctx)
		ev.user, ev.mounts, ev.guard = s.user, s.mounted, s.guarded
		if ev.err == nil && s.spec.Lifecycle != nil && s.spec.Lifecycle.PostStart != nil {
			ev.hook = s.a.runHook(ctx, hookTarget{s.pod, s.spec, s.id, primary(s.ips)}, s.spec.Lifecycle.PostStart)
		}
		return ev
	}
}

// start is one start of one container: everything that the job needs to know.
type start struct {
	a       *Agent
	pod     *corev1.Pod
	spec    *corev1.Container
	id      string
	attempt int
	ips     []string // of the pod
	path    string   // names the container in events
	target  string   // ID of the container whose processes an ephemeral one sees; "" is its own only
	stale   []string // ended containers to be removed

	// What the container was given, for its status.
	user    *corev1.ContainerUser
	mounted []corev1.VolumeMountStatus
	guarded bool
}

func (s *start) run(ctx context.Context) (*Image, runtime.Container, error) {
	if err := s.imageVolumes(ctx); err != nil {
		return nil, runtime.Container{}, err
	}
	img, err := s.ensureImage(ctx)
	if err != nil {
		return nil, runtime.Container{}, err
	}
	spec, err := s.containerSpec(ctx, img)
	if err != nil {
		return img, runtime.Container{}, err
	}
	if s.guarded, err = s.a.fencing.admit(ctx, s.pod); err != nil {
		return img, runtime.Container{}, err
	}
	spec.Guarded = s.guarded
	release, err := s.a.slot(ctx)
	if err != nil {
		return img, runtime.Container{}, err
	}
	defer release()
	for _, id := range s.stale {
		if err := s.a.cfg.Executor.RemoveContainer(ctx, id); err != nil && ctx.Err() == nil {
			s.a.log.Warn("removing an ended container", "pod", s.pod.UID, "error", err)
		}
	}
	made, err := s.a.cfg.Executor.StartContainer(ctx, spec)
	if err != nil {
		return img, made, err
	}
	s.event(corev1.EventTypeNormal, "Created", "Container created")
	return img, made, nil
}

func (s *start) event(kind, reason, message string) {
	s.a.events.record(s.pod, s.path, kind, reason, message)
}

func (s *start) ensureImage(ctx context.Context) (*Image, error) {
	secrets, missing, err := s.a.pullSecrets(ctx, s.pod)
	if err != nil {
		return nil, &configError{err}
	}
	if len(missing) > 0 {
		s.a.events.record(s.pod, "", corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret", fmt.Sprintf(
			"Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", strings.Join(missing, ", ")))
	}
	img, err := s.a.cfg.Images.Ensure(ctx, s.spec.Image, pullPolicy(s.spec), secrets, func() {
		s.event(corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", s.spec.Image))
	})
	if err != nil {
		return nil, imageError(ctx, "", err)
	}
	s.event(corev1.EventTypeNormal, "Pulled", pulled(s.spec.Image, img))
	return img, nil
}

// imageVolumes has those of the container ready. As in Kubernetes the container shows what is wrong with an image, its own or a volume's.
func (s *start) imageVolumes(ctx context.Context) error {
	if s.a.cfg.DataDir == "" {
		return nil
	}
	err := s.a.vols.PrepareImages(ctx, s.pod, s.spec)
	var img *ImageError
	if err == nil || ctx.Err() != nil || errors.As(err, &img) {
		return err
	}
	return &configError{err}
}

// imageError is why the image ref is not there; "" is a container's own.
func imageError(ctx context.Context, ref string, err error) error {
	var img *ImageError
	switch {
	case ctx.Err() != nil:
		return err
	case errors.As(err, &img):
		return &ImageError{Ref: ref, Reason: img.Reason, Message: img.Message}
	}
	return &ImageError{Ref: ref, Reason: ReasonErrImagePull, Message: err.Error()}
}

// pulled tells how an image came to be here.
func pulled(ref string, img *Image) string {
	if img.Pulled {
		return fmt.Sprintf("Successfully pulled image %q in %v (%v including waiting). Image size: %d bytes.",
			ref, img.PullTime.Truncate(time.Millisecond), (img.WaitTime + img.PullTime).Truncate(time.Millisecond), img.Size)
	}
	return fmt.Sprintf("Container image %q already present on machine", ref)
}

// pullPolicy is the container's own, or Kubernetes' default: Always for :latest.
func pullPolicy(c *corev1.Container) corev1.PullPolicy {
	if c.ImagePullPolicy != "" {
		return c.ImagePullPolicy
	}
	name := c.Image[strings.LastIndex(c.Image, "/")+1:]
	if strings.Contains(name, "@") || strings.Contains(name, ":") && !strings.HasSuffix(name, ":latest") {
		return corev1.PullIfNotPresent
	}
	return corev1.PullAlways
}

// pullSecrets reads the pod's credentials for registries. As in Kubernetes, the pull is tried without those that are missing.
func (a *Agent) pullSecrets(ctx context.Context, pod *corev1.Pod) (documents [][]byte, missing []string, err error) {
	for _, ref := range pod.Spec.ImagePullSecrets {
		s, found, err := objects{a.cfg.ControlPlane}.Secret(ctx, pod.Namespace, ref.Name)
		if err != nil {
			return nil, nil, err
		}
		if !found {
			missing = append(missing, ref.Name)
			continue
		}
		if b := s.Data[corev1.DockerConfigJsonKey]; len(b) > 0 {
			documents = append(documents, b)
		} else if b := s.Data[corev1.DockerConfigKey]; len(b) > 0 {
			documents = append(documents, []byte(`{"auths":`+string(b)+`}`))
		}
	}
	return documents, missing, nil
}

// containerSpec resolves everything that a container asks for.
func (s *start) containerSpec(ctx context.Context, img *Image) (runtime.ContainerSpec, error) {
	env, err := s.environment(ctx, img)
	if err != nil {
		return runtime.ContainerSpec{}, &configError{err}
	}
	spec := runtime.ContainerSpec{
		ID: s.id, TargetID: s.target, PodUID: string(s.pod.UID), Name: s.spec.Name, Attempt: s.attempt, Layers: img.Layers, Image: img.Handle,
		Args: commandLine(s.spec, img, env), Env: env.list(), Cwd: s.spec.WorkingDir,
		Resources: containerResources(s.pod, s.spec, s.a.node.memory),
		TTY:       s.spec.TTY, Stdin: s.spec.Stdin, StdinOnce: s.spec.StdinOnce, LogPath: s.a.logPath(s.pod, s.spec.Name, s.attempt),
	}
	if spec.Cwd == "" {
		spec.Cwd = img.WorkingDir
	}
	if len(spec.Args) == 0 {
		return spec, errors.New("no command specified")
	}
	if err := s.a.applySecurity(&spec, s.pod, s.spec, img); err != nil {
		return spec, &configError{err}
	}
	if s.a.cfg.DataDir == "" {
		return spec, nil
	}
	if spec.Mounts, err = s.mounts(env); err != nil {
		return spec, &configError{err}
	}
	s.mounted = s.a.volumeMountStatus(s.spec)
	if img.ResolveUser != nil {
		s.user = linuxUser(&spec)
	}
	return spec, s.prepareLog(spec.LogPath)
}

// commandLine is Kubernetes' rule: command replaces entrypoint and cmd, args replaces cmd.
func commandLine(c *corev1.Container, img *Image, env *environment) []string {
	var out []string
	switch {
	case len(c.Command) > 0:
		out = append(out, env.expandAll(c.Command)...)
	default:
		out = append(out, img.Entrypoint...)
	}
	switch {
	case len(c.Args) > 0:
		out = append(out, env.expandAll(c.Args)...)
	case len(c.Command) == 0:
		out = append(out, img.Cmd...)
	}
	return out
}

// logPath is where a start's log goes; "" keeps none.
func (a *Agent) logPath(pod *corev1.Pod, container string, attempt int) string {
	if a.cfg.DataDir == "" {
		return ""
	}
	return filepath.Join(a.logDir(pod), container, strconv.Itoa(attempt)+".log")
}

func (a *Agent) logDir(pod *corev1.Pod) string {
	return filepath.Join(a.cfg.DataDir, "logs", "pods", pod.Namespace+"_"+pod.Name+"_"+string(pod.UID))
}

// prepareLog makes the log's directory and removes logs older than the previous start's.
func (s *start) prepareLog(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if s.attempt < 2 {
		return nil
	}
	old, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range old {
		number, _, _ := strings.Cut(e.Name(), ".")
		if n, err := strconv.Atoi(number); err == nil && n < s.attempt-1 {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
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
