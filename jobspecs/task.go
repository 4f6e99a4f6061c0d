package jobspecs

import (
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// drivers all mean the same here: a container of an OCI image.
var drivers = []string{"oci", "docker", "podman", "containerd", "containerd-driver"}

// task is a task block and the container it becomes.
type task struct {
	*block
	config       *block
	container    corev1.Container
	prestart     bool
	sidecar      bool
	meta         map[string]string
	graceSeconds int64
	// listens are the labels of the ports that the task names as its own.
	listens []string
}

func (g *group) readTasks() {
	seen := map[string]bool{}
	mains := 0
	for _, b := range g.each("task") {
		if seen[b.name()] {
			b.fault(b.at, "task %q stands twice in this group", b.name())
		}
		seen[b.name()] = true
		t := g.readTask(b)
		g.tasks = append(g.tasks, t)
		if !t.prestart {
			mains++
		}
	}
	switch {
	case len(g.tasks) == 0:
		g.fault(g.at, "group %q has no task", g.name())
	case mains == 0:
		g.fault(g.at, "group %q has only prestart tasks; it needs one that runs", g.name())
	}
	for _, t := range g.tasks {
		if t.truth("leader") && mains > 1 {
			t.fault(t.where("leader"), "a leader is not possible here: containers of a pod end by themselves; make the others prestart sidecars")
		}
	}
}

func (g *group) readTask(b *block) *task {
	t := &task{block: b, meta: b.pairs("meta"), container: corev1.Container{Name: b.name()}}
	b.checkName("task", b.name())
	t.checkDriver()
	t.readLifecycle()
	t.readStop(g.job.typ)
	if b.one("restart") != nil {
		b.fault(b.at, "restart is the group's: all containers of a pod have the same")
	}
	resources := t.readResources()
	if g.disk {
		t.container.VolumeMounts = []corev1.VolumeMount{{Name: diskName, MountPath: sharedDir}}
	}
	s := &surroundings{job: g.job.name(), group: g.name(), task: b.name(), ports: g.network.ports,
		disk: g.disk, cpu: resources.cpu, memory: resources.memory, meta: merged(g.job.meta, g.meta, t.meta)}
	needs := map[string]string{}
	if t.config = b.one("config"); t.config == nil {
		b.fault(b.at, "task %q has no config block with an image", b.name())
	} else {
		t.readConfig(s, needs)
	}
	t.readUser()
	t.readEnv(s, needs)
	return t
}

func (t *task) checkDriver() {
	driver := t.text("driver")
	switch {
	case driver == "" && t.has("driver") || slices.Contains(drivers, driver):
	case driver == "":
		t.fault(t.at, "task %q has no driver: write driver = \"oci\"", t.name())
	case slices.Contains([]string{"exec", "raw_exec", "exec2", "java", "qemu"}, driver):
		t.fault(t.where("driver"), "driver %s is not possible here: put the program in an image and write driver = \"oci\"", driver)
	default:
		t.fault(t.where("driver"), "driver must be oci (docker, podman and containerd mean the same), not %q", driver)
	}
}

func (t *task) readLifecycle() {
	l := t.one("lifecycle")
	if l == nil {
		return
	}
	t.sidecar = l.truth("sidecar")
	switch hook := l.text("hook"); hook {
	case "prestart":
		t.prestart = true
		if t.sidecar {
			always := corev1.ContainerRestartPolicyAlways
			t.container.RestartPolicy = &always
		}
	case "poststart":
		if !t.sidecar {
			l.fault(l.where("hook"), "a poststart task that ends is not possible here: do its work in the main task's command, or make it a sidecar")
		}
	case "poststop":
		l.fault(l.where("hook"), "poststop is not possible here: trap SIGTERM in the main task")
	default:
		l.fault(l.where("hook"), "hook must be prestart, poststart or poststop, not %q", hook)
	}
}

// readStop reads how the task is stopped.
func (t *task) readStop(jobType string) {
	if d, ok := t.duration("kill_timeout"); ok {
		t.graceSeconds = max(seconds(d), 1)
	}
	if s := t.text("kill_signal"); s != "" && strings.TrimPrefix(s, "SIG") != "TERM" {
		t.fault(t.where("kill_signal"), "tasks are stopped by SIGTERM: translate it in the task, or build the image with STOPSIGNAL %s", s)
	}
	d, ok := t.duration("shutdown_delay")
	if !ok || d == 0 {
		return
	}
	if t.prestart && !t.sidecar || jobType == typeBatch {
		t.fault(t.where("shutdown_delay"), "shutdown_delay is for tasks that serve; leave it out")
		return
	}
	s := seconds(d)
	t.container.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: s}}}
	t.graceSeconds = max(t.graceSeconds, 5) + s // the delay is part of the grace in Kubernetes; Nomad's timeout starts after it
}

// taskResources are the numbers as written, for the task's environment.
type taskResources struct{ cpu, memory int64 }

func (t *task) readResources() (out taskResources) {
	r := t.one("resources")
	if r == nil {
		return out
	}
	requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
	if n, ok := r.number("cpu", 1, 1<<30); ok {
		out.cpu = n
		requests[corev1.ResourceCPU] = *resource.NewMilliQuantity(n, resource.DecimalSI)
	}
	if n, ok := r.number("cores", 1, 1<<20); ok {
		if r.has("cpu") {
			r.fault(r.where("cores"), "cpu and cores say the same: give one of them")
		}
		out.cpu = n * 1000
		requests[corev1.ResourceCPU] = *resource.NewQuantity(n, resource.DecimalSI)
		limits[corev1.ResourceCPU] = requests[corev1.ResourceCPU]
	}
	if n, ok := r.number("memory", 1, 1<<30); ok {
		out.memory = n
		requests[corev1.ResourceMemory] = *resource.NewQuantity(n<<20, resource.BinarySI)
		limits[corev1.ResourceMemory] = requests[corev1.ResourceMemory]
	}
	if n, ok := r.number("memory_max", 1, 1<<30); ok {
		if n < out.memory {
			r.fault(r.where("memory_max"), "memory_max must not be less than memory")
		}
		limits[corev1.ResourceMemory] = *resource.NewQuantity(n<<20, resource.BinarySI)
	}
	if len(requests) > 0 {
		t.container.Resources.Requests = requests
	}
	if len(limits) > 0 {
		t.container.Resources.Limits = limits
	}
	return out
}

func (t *task) readConfig(s *surroundings, needs map[string]string) {
	c := t.config
	inContainer := func(name string) (out []string) {
		for _, text := range c.texts(name) {
			out = append(out, c.containerText(text, c.where(name), s, needs))
		}
		return out
	}
	if t.container.Image = c.text("image"); t.container.Image == "" && !c.diags.HasErrors() {
		c.fault(c.at, "task %q has no image", t.name())
	}
	if strings.TrimSpace(t.container.Image) != t.container.Image {
		c.fault(c.where("image"), "the image's name has spaces around it")
	}
	// Nomad's command takes the place of the image's arguments, and its entrypoint that of the image's.
	t.container.Command = inContainer("entrypoint")
	t.container.Args = append(inContainer("command"), inContainer("args")...)
	t.container.WorkingDir = c.text("work_dir")
	t.container.TTY = c.truth("tty")
	t.container.Stdin = t.container.TTY
	if c.truth("force_pull") {
		t.container.ImagePullPolicy = corev1.PullAlways
	}
	c.duration("image_pull_timeout")
	if c.has("hostname") {
		c.fault(c.where("hostname"), "say network { hostname = %q } in the group", c.text("hostname"))
	}
	t.listens = c.texts("ports")
	t.readSecurity()
}

func (t *task) readSecurity() {
	c := t.config
	var s corev1.SecurityContext
	yes := true
	if c.truth("privileged") {
		s.Privileged = &yes
	}
	if c.truth("readonly_rootfs") {
		s.ReadOnlyRootFilesystem = &yes
	}
	if add, drop := capabilities(c.texts("cap_add")), capabilities(c.texts("cap_drop")); len(add)+len(drop) > 0 {
		s.Capabilities = &corev1.Capabilities{Add: add, Drop: drop}
	}
	if s.Privileged != nil || s.ReadOnlyRootFilesystem != nil || s.Capabilities != nil {
		t.container.SecurityContext = &s
	}
}

// capabilities are Kubernetes' names, without CAP_.
func capabilities(names []string) (out []corev1.Capability) {
	for _, n := range names {
		out = append(out, corev1.Capability(strings.TrimPrefix(strings.ToUpper(n), "CAP_")))
	}
	return out
}

// readUser takes uid or uid:gid; names are in the image, which is not at hand.
func (t *task) readUser() {
	text := t.text("user")
	if text == "" {
		return
	}
	user, grp, hasGroup := strings.Cut(text, ":")
	uid, err := strconv.ParseUint(user, 10, 31)
	gid, groupErr := strconv.ParseUint(grp, 10, 31)
	if err != nil || hasGroup && groupErr != nil {
		t.fault(t.where("user"), "user must be numbers, as \"1000\" or \"1000:1000\": names are known only inside the image")
		return
	}
	if t.container.SecurityContext == nil {
		t.container.SecurityContext = &corev1.SecurityContext{}
	}
	id := int64(uid) // #nosec G115 -- 31 bits
	t.container.SecurityContext.RunAsUser = &id
	if hasGroup {
		id := int64(gid) // #nosec G115 -- 31 bits
		t.container.SecurityContext.RunAsGroup = &id
	}
}

// readEnv puts the variables that others refer to first, as $(NAME) sees only what stands before.
func (t *task) readEnv(s *surroundings, needs map[string]string) {
	env := t.pairs("env")
	var own []corev1.EnvVar
	for _, name := range sortedKeys(env) {
		if faults := validation.IsEnvVarName(name); len(faults) > 0 {
			t.fault(t.whereEnv(name), "env %q: %s", name, faults[0])
		}
		own = append(own, corev1.EnvVar{Name: name, Value: t.containerText(env[name], t.whereEnv(name), s, needs)})
	}
	for _, v := range neededEnv(needs) {
		if _, taken := env[v.Name]; taken {
			t.fault(t.at, "env %s is also what ${...} of that name would be called; choose another name", v.Name)
			continue
		}
		t.container.Env = append(t.container.Env, v)
	}
	t.container.Env = append(t.container.Env, own...)
}

// whereEnv is the place of a variable, wherever env was written.
func (t *task) whereEnv(name string) (at hcl.Range) {
	at = t.where("env")
	for _, inner := range t.blocks {
		if inner.Type != "env" {
			continue
		}
		all, _ := inner.Body.JustAttributes() // its faults are reported by pairs
		if a := all[name]; a != nil {
			return a.Range
		}
	}
	return at
}

func merged(maps ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range maps {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}
