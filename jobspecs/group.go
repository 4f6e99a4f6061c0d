package jobspecs

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// appLabel selects a group's pods; its value is the name of the group's Deployment or Job.
	appLabel = "app"
	// diskName and sharedDir are the volume and the mount point of the group's ephemeral disk.
	diskName  = "alloc"
	sharedDir = "/alloc"
)

// group is a group block while its tasks are read.
type group struct {
	*block
	job     *job
	app     string // the name of its workload, and the value of its app label
	count   int32
	network network
	meta    map[string]string
	disk    bool
	tasks   []*task
	pod     corev1.PodSpec
}

// readGroup reads a group and adds its objects to the job's.
func (j *job) readGroup(b *block, only bool) {
	g := &group{block: b, job: j, app: j.name(), count: 1, meta: b.pairs("meta")}
	if !only {
		g.app = j.name() + "-" + b.name()
	}
	b.checkName("group", b.name())
	if g.app != j.name() {
		b.checkName("the workload's", g.app)
	}
	if n, ok := b.number("count", 0, groupCountMax); ok {
		g.count = int32(n) // #nosec G115 -- bounded by groupCountMax
	}
	g.network = b.readNetwork()
	g.readDisk()
	g.readTasks()
	g.assignPorts()
	g.buildPod()
	for _, s := range b.each("service") {
		g.readService(s, nil)
	}
	for _, t := range g.tasks {
		for _, s := range t.each("service") {
			g.readService(s, t)
		}
	}
	g.gatherContainers()
	if j.typ == typeBatch {
		j.objects = append(j.objects, g.batchJob())
		return
	}
	j.objects = append(j.objects, g.deployment())
}

func (g *group) readDisk() {
	d := g.one("ephemeral_disk")
	if d == nil {
		return
	}
	g.disk = true
	source := &corev1.EmptyDirVolumeSource{}
	if n, ok := d.number("size", 1, 1<<30); ok {
		source.SizeLimit = resource.NewQuantity(n<<20, resource.BinarySI)
	}
	g.pod.Volumes = append(g.pod.Volumes, corev1.Volume{Name: diskName, VolumeSource: corev1.VolumeSource{EmptyDir: source}})
}

// buildPod fills in what the group itself says about its pods.
func (g *group) buildPod() {
	g.pod.Hostname = g.network.hostname
	g.pod.HostNetwork = g.network.host
	if g.network.dns != nil {
		g.pod.DNSPolicy, g.pod.DNSConfig = corev1.DNSNone, g.network.dns
	} else if g.network.host {
		g.pod.DNSPolicy = corev1.DNSClusterFirstWithHostNet
	}
	required, preferred := g.placement()
	required = append(append([]corev1.NodeSelectorRequirement{}, g.job.placement...), required...)
	preferred = append(append([]corev1.PreferredSchedulingTerm{}, g.job.preferred...), preferred...)
	for _, t := range g.tasks {
		r, p := t.placement()
		required, preferred = append(required, r...), append(preferred, p...)
	}
	g.pod.Affinity = affinity(required, preferred)
	var grace int64
	for _, t := range g.tasks {
		grace = max(grace, t.graceSeconds)
	}
	if grace > 0 {
		g.pod.TerminationGracePeriodSeconds = &grace
	}
}

// gatherContainers comes last, when services have given the containers their probes.
func (g *group) gatherContainers() {
	for _, t := range g.tasks {
		if t.prestart {
			g.pod.InitContainers = append(g.pod.InitContainers, t.container)
		} else {
			g.pod.Containers = append(g.pod.Containers, t.container)
		}
	}
}

func (g *group) labels() map[string]string {
	return map[string]string{appLabel: g.app, JobLabel: g.job.name()}
}

func (g *group) meta1() metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: g.app, Namespace: g.job.namespace, Labels: g.labels(), Annotations: g.annotations(g.job.meta, g.meta)}
}

// template is the pod template; its annotations are meta's, so that a change of meta rolls the pods as in Nomad.
func (g *group) template() corev1.PodTemplateSpec {
	metas := []map[string]string{g.job.meta, g.meta}
	for _, t := range g.tasks {
		metas = append(metas, t.meta)
	}
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: g.labels(), Annotations: g.annotations(metas...)},
		Spec:       g.pod,
	}
}

func (g *group) deployment() *appsv1.Deployment {
	g.warnRestart()
	d := &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: g.meta1(),
		Spec: appsv1.DeploymentSpec{
			Replicas: &g.count,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{appLabel: g.app}},
			Template: g.template(),
		},
	}
	g.applyUpdate(&d.Spec)
	return d
}

// warnRestart says how services restart; only mode fail with no attempts would ask for something else.
func (g *group) warnRestart() {
	r := g.one("restart")
	if r == nil {
		return
	}
	attempts, given := r.number("attempts", 0, 1<<30)
	r.duration("interval")
	r.duration("delay")
	if r.choice("mode", "fail", "delay") == "fail" && given && attempts == 0 {
		r.fault(r.where("attempts"), "a service's tasks are always restarted: use type = \"batch\" for what should run once")
		return
	}
	r.warnings = append(r.warnings, "group "+g.name()+": a service's tasks are restarted for ever, after 10s and then twice as long each time up to 5m; its restart block sets nothing")
}
