package jobspecs

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	typeService = "service"
	typeBatch   = "batch"
)

// job is a job block while its groups are read.
type job struct {
	*block
	typ       string
	namespace string
	meta      map[string]string
	update    *block
	placement []corev1.NodeSelectorRequirement
	preferred []corev1.PreferredSchedulingTerm
	objects   []runtime.Object
	services  map[string]*corev1.Service
}

func (b *block) readJob() *Job {
	j := &job{block: b, services: map[string]*corev1.Service{}}
	b.checkName("job", b.name())
	j.typ = b.jobType()
	if j.namespace = b.text("namespace"); j.namespace != "" {
		if faults := validation.IsDNS1123Label(j.namespace); len(faults) > 0 {
			b.fault(b.where("namespace"), "namespace %q: %s", j.namespace, faults[0])
		}
	}
	j.refuseDefaults()
	j.meta = b.pairs("meta")
	j.update = b.one("update")
	j.placement, j.preferred = b.placement()
	groups := b.each("group")
	if len(groups) == 0 {
		b.fault(b.at, "job %q has no group", b.name())
	}
	seen := map[string]bool{}
	for _, g := range groups {
		if seen[g.name()] {
			g.fault(g.at, "group %q stands twice in this job", g.name())
		}
		seen[g.name()] = true
		j.readGroup(g, len(groups) == 1)
	}
	return j.finish()
}

func (b *block) jobType() string {
	switch got := b.text("type"); got {
	case "", typeService:
		return typeService
	case typeBatch:
		return typeBatch
	case "system", "sysbatch":
		b.fault(b.where("type"), "jobs of type %s are not possible yet: use a service with a count of as many as there are nodes", got)
	default:
		b.fault(b.where("type"), "type must be service or batch, not %q", got)
	}
	return typeService
}

// refuseDefaults takes what is Nomad's default and refuses what would ask for more.
func (j *job) refuseDefaults() {
	if n, ok := j.number("priority", 1, 100); ok && n != 50 {
		j.fault(j.where("priority"), "priorities are not possible yet: all jobs have the same, 50; leave it out")
	}
	if j.truth("all_at_once") {
		j.fault(j.where("all_at_once"), "all_at_once is not possible here: pods are placed as room is found; leave it out")
	}
	if r := j.text("region"); r != "" && r != "global" {
		j.fault(j.where("region"), "a cluster is one region; choose the cluster with the kubeconfig's context")
	}
	for _, name := range []string{"id", "name"} {
		if text := j.text(name); text != "" && text != j.name() {
			j.fault(j.where(name), "a job's name is its label: job %q { ... }", text)
		}
	}
}

// checkName refuses names that would make objects that the API refuses.
func (b *block) checkName(what, name string) {
	if faults := validation.IsDNS1123Label(name); len(faults) > 0 {
		b.fault(b.at, "%s name %q: %s", what, name, faults[0])
	}
}

// finish turns the typed objects into what the caller gets.
func (j *job) finish() *Job {
	out := &Job{Name: j.name(), Namespace: j.namespace, Type: j.typ}
	for _, name := range sortedKeys(j.services) {
		j.objects = append(j.objects, j.services[name])
	}
	for _, o := range j.objects {
		u, err := toUnstructured(o)
		if err != nil {
			j.fault(j.at, "job %q: %s", j.name(), err)
			continue
		}
		own(u, j.name())
		if m := leftover(u.Object); m != "" {
			j.fault(j.at, "job %q: ${%s} stands where it has no value: it is known only when a pod runs", j.name(), m)
		}
		out.Objects = append(out.Objects, u)
	}
	return out
}

// leftover finds a reference that no field could take.
func leftover(v any) string {
	switch t := v.(type) {
	case string:
		if m := runtimeReference.FindStringSubmatch(t); m != nil {
			return m[1]
		}
	case map[string]any:
		for _, k := range sortedKeys(t) {
			if m := leftover(t[k]); m != "" {
				return m
			}
		}
	case []any:
		for _, e := range t {
			if m := leftover(e); m != "" {
				return m
			}
		}
	}
	return ""
}

// annotations are meta's pairs as annotations: keys without a slash go under peapod.io.
func (b *block) annotations(metas ...map[string]string) map[string]string {
	var out map[string]string
	for _, meta := range metas {
		for k, v := range meta {
			if out == nil {
				out = map[string]string{}
			}
			if !strings.Contains(k, "/") {
				k = "meta.peapod.io/" + k
			}
			if faults := validation.IsQualifiedName(strings.ToLower(k)); len(faults) > 0 {
				b.fault(b.at, "meta key %q: %s", k, faults[0])
			}
			out[k] = v
		}
	}
	return out
}
