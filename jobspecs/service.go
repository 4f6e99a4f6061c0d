package jobspecs

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
)

// tagsAnnotation keeps the tags of a service that are no labels.
const tagsAnnotation = "peapod.io/tags"

// assignPorts gives the group's ports to the tasks that listen on them.
func (g *group) assignPorts() {
	for _, t := range g.tasks {
		for _, label := range t.listens {
			if _, ok := portNamed(g.network.ports, label); !ok {
				t.fault(t.config.where("ports"), "the group's network has no port %q%s", label, suggestion(label, g.portLabels()))
			}
		}
	}
	for _, p := range g.network.ports {
		if t := g.listener(p.label); t != nil {
			t.container.Ports = append(t.container.Ports, corev1.ContainerPort{Name: p.objectName(), ContainerPort: p.container, HostPort: p.host})
		} else if len(g.tasks) > 0 {
			p.fault(p.at, "which task listens on port %q? say config { ports = [%q] } in it", p.label, p.label)
		}
	}
}

func (g *group) portLabels() map[string]bool {
	out := map[string]bool{}
	for _, p := range g.network.ports {
		out[p.label] = true
	}
	return out
}

// listener is the task that names the port as its own, or the only task that stays.
func (g *group) listener(label string) *task {
	var stay []*task
	for _, t := range g.tasks {
		if slices.Contains(t.listens, label) {
			return t
		}
		if !t.prestart || t.sidecar {
			stay = append(stay, t)
		}
	}
	if len(stay) == 1 {
		return stay[0]
	}
	return nil
}

// readService adds a port to the Service of this name, which several service blocks may share, and
// gives the task that listens its probes. The task is nil for a service block of the group.
func (g *group) readService(b *block, within *task) {
	name := b.text("name")
	if name == "" {
		name = g.app
	}
	if faults := validation.IsDNS1035Label(name); len(faults) > 0 {
		b.fault(b.where("name"), "service name %q: %s", name, faults[0])
	}
	if p := b.text("provider"); p != "" && p != "nomad" && p != "peapod" {
		b.fault(b.where("provider"), "provider %s is not possible here: leave it out; %s", p, insteadService)
	}
	if m := b.text("address_mode"); m != "" && m != "auto" && m != "alloc" {
		b.fault(b.where("address_mode"), "services lead to the pods' own addresses: leave it out")
	}
	p, ok := g.servicePort(b)
	listener := g.serviceTask(b, within, p)
	if listener != nil {
		g.readChecks(b, listener, p)
	}
	if ok {
		g.addService(b, name, p)
	}
}

// servicePort finds the port by label, or takes a number.
func (g *group) servicePort(b *block) (p port, ok bool) {
	label := b.text("port")
	if label == "" {
		if len(g.network.ports) == 1 {
			return g.network.ports[0], true
		}
		b.fault(b.at, "this service has no port: write port = \"LABEL\" of a port of the group's network")
		return p, false
	}
	if p, ok = portNamed(g.network.ports, label); ok {
		return p, true
	}
	if n, err := strconv.ParseUint(label, 10, 16); err == nil && n > 0 {
		return port{block: b, container: int32(n)}, true // #nosec G115 -- 16 bits
	}
	b.fault(b.where("port"), "the group's network has no port %q%s", label, suggestion(label, g.portLabels()))
	return p, false
}

func (g *group) serviceTask(b *block, within *task, p port) *task {
	if within != nil {
		return within
	}
	if name := b.text("task"); name != "" {
		return g.taskNamed(b, name)
	}
	return g.listener(p.label)
}

func (g *group) taskNamed(b *block, name string) *task {
	known := map[string]bool{}
	for _, t := range g.tasks {
		if t.name() == name {
			return t
		}
		known[t.name()] = true
	}
	b.fault(b.where("task"), "the group has no task %q%s", name, suggestion(name, known))
	return nil
}

func (g *group) addService(b *block, name string, p port) {
	typ := corev1.ServiceType(b.choice("type", "ClusterIP", "NodePort", "LoadBalancer"))
	s := g.job.services[name]
	if s == nil {
		s = &corev1.Service{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: g.job.namespace, Labels: g.labels(), Annotations: b.annotations(b.pairs("meta"))},
			Spec:       corev1.ServiceSpec{Type: typ, Selector: map[string]string{appLabel: g.app}},
		}
		g.job.services[name] = s
	}
	b.tag(s)
	switch {
	case s.Spec.Selector[appLabel] != g.app:
		b.fault(b.at, "service %q is also a service of another group; one Service has the pods of one group", name)
		return
	case s.Spec.Type != typ:
		b.fault(b.where("type"), "service %q has another type above", name)
	}
	sp := corev1.ServicePort{Name: p.objectName(), Port: p.container, TargetPort: intstr.FromInt32(p.container)}
	if p.host != 0 {
		sp.Port = p.host
	}
	if n := p.objectName(); n != "" {
		sp.TargetPort = intstr.FromString(n)
	}
	if n, ok := b.number("node_port", 1, 65535); ok {
		if typ == corev1.ServiceTypeClusterIP {
			b.fault(b.where("node_port"), "node_port needs type = \"NodePort\"")
		}
		sp.NodePort = int32(n) // #nosec G115 -- at most 65535
	}
	for _, other := range s.Spec.Ports {
		if other.Port == sp.Port {
			b.fault(b.at, "service %q has port %d twice", name, sp.Port)
			return
		}
		if other.Name == "" || sp.Name == "" {
			b.fault(b.at, "service %q has several ports, so each needs a label of at most %d letters, digits and dashes", name, portNameMax)
			return
		}
	}
	s.Spec.Ports = append(s.Spec.Ports, sp)
}

// tag makes key=value tags labels, and keeps the others in an annotation.
func (b *block) tag(s *corev1.Service) {
	var others []string
	for _, t := range b.texts("tags") {
		key, value, found := strings.Cut(t, "=")
		if found && len(validation.IsQualifiedName(key)) == 0 && len(validation.IsValidLabelValue(value)) == 0 && key != appLabel && key != JobLabel {
			s.Labels[key] = value
			continue
		}
		others = append(others, t)
	}
	if len(others) == 0 {
		return
	}
	if s.Annotations == nil {
		s.Annotations = map[string]string{}
	}
	s.Annotations[tagsAnnotation] = strings.Join(others, ",")
}
