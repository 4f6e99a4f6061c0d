package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/agent/runtime"
)

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
