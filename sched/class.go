package sched

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/resource"
	schedhelpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/peapod-sh/peapod/api"
)

// class is what the pods of one template ask of a node and of its neighbours. It is computed once a template.
type class struct {
	namespace string
	labels    map[string]string

	cpuMilli, memory, ephemeral int64 // millicores, bytes, bytes
	scoreCPU, scoreMemory       int64 // the same for scoring, where asking for nothing counts as a little
	extended                    []extendedRequest
	ports                       []hostPort
	images                      []string  // as nodes name them
	containers                  int       // that images are of
	owner                       types.UID // the controller; "" is none
	priority                    int32
	preempts                    bool // others may have to go for it

	static
	wishes
}

// static is what only the node's own description answers. Classes of the same signature share the answers.
type static struct {
	signature   string
	tolerations []corev1.Toleration
	required    nodeaffinity.RequiredNodeAffinity
	selective   bool // required says something
	preferred   *nodeaffinity.PreferredSchedulingTerms
	pinned      string // spec.nodeName asked for by a template
}

// extendedRequest is an amount of a resource beyond cpu, memory and ephemeral storage.
type extendedRequest struct {
	name   string
	amount int64
}

// hostPort is a port on the node itself. IP "" or 0.0.0.0 collides with every address.
type hostPort struct {
	ip       string
	protocol corev1.Protocol
	port     int32
}

func (p hostPort) collides(q hostPort) bool {
	return p.port == q.port && p.protocol == q.protocol && (p.ip == q.ip || p.ip == anyIP || q.ip == anyIP)
}

const anyIP = "0.0.0.0"

// classOf gives the template's class; it lives in the template's memo.
func classOf(t *api.PodTemplate) *class {
	return t.Memo(func(p *corev1.Pod) any { return newClass(p) }).(*class)
}

func newClass(p *corev1.Pod) *class {
	if node, ok := api.PinnedTo(&p.Spec); ok && node == "" { // each of these pods has a node of its own
		unpinned := *p
		unpinned.Spec.Affinity = p.Spec.Affinity.DeepCopy()
		unpinned.Spec.Affinity.NodeAffinity = nil
		p = &unpinned
	}
	c := &class{
		namespace: p.Namespace, labels: p.Labels, ports: hostPorts(&p.Spec),
		priority: schedhelpers.PodPriority(p),
		preempts: p.Spec.PreemptionPolicy == nil || *p.Spec.PreemptionPolicy != corev1.PreemptNever,
		static:   newStatic(p), wishes: newWishes(p),
	}
	c.images, c.containers = imagesOf(&p.Spec)
	c.addRequests(resource.PodRequests(p, resource.PodResourcesOptions{}))
	c.score()
	if o := metav1.GetControllerOfNoCopy(p); o != nil {
		c.owner = o.UID
	}
	return c
}

func newStatic(p *corev1.Pod) static {
	s := static{
		tolerations: p.Spec.Tolerations,
		required:    nodeaffinity.GetRequiredNodeAffinity(p),
		selective:   len(p.Spec.NodeSelector) > 0 || requiresNode(p.Spec.Affinity),
		pinned:      p.Spec.NodeName,
	}
	said := corev1.PodSpec{NodeName: s.pinned, NodeSelector: p.Spec.NodeSelector, Tolerations: s.tolerations}
	if a := p.Spec.Affinity; a != nil && a.NodeAffinity != nil {
		said.Affinity = &corev1.Affinity{NodeAffinity: a.NodeAffinity}
		if terms := a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution; len(terms) > 0 {
			// Validation refuses terms that do not parse; one that slipped through prefers nothing.
			s.preferred, _ = nodeaffinity.NewPreferredSchedulingTerms(terms)
		}
	}
	b, err := said.Marshal()
	if err != nil {
		panic("sched: part of a pod that was encoded before does not encode: " + err.Error())
	}
	s.signature = string(b)
	return s
}

func (c *class) score() {
	c.scoreCPU, c.scoreMemory = cmp.Or(c.cpuMilli, scoreCPUMilliDefault), cmp.Or(c.memory, scoreMemoryDefault)
}

func requiresNode(a *corev1.Affinity) bool {
	return a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil
}

func (c *class) addRequests(requests corev1.ResourceList) {
	for name, q := range requests {
		switch name {
		case corev1.ResourceCPU:
			c.cpuMilli = q.MilliValue()
		case corev1.ResourceMemory:
			c.memory = q.Value()
		case corev1.ResourceEphemeralStorage:
			c.ephemeral = q.Value()
		default:
			if v := q.Value(); v > 0 {
				c.extended = append(c.extended, extendedRequest{string(name), v})
			}
		}
	}
	slices.SortFunc(c.extended, func(a, b extendedRequest) int { return strings.Compare(a.name, b.name) })
}

func hostPorts(spec *corev1.PodSpec) []hostPort {
	var out []hostPort
	add := func(containers []corev1.Container) {
		for i := range containers {
			for _, p := range containers[i].Ports {
				if p.HostPort > 0 {
					out = append(out, normalPort(p))
				}
			}
		}
	}
	add(spec.Containers)
	for i := range spec.InitContainers {
		if r := spec.InitContainers[i].RestartPolicy; r != nil && *r == corev1.ContainerRestartPolicyAlways {
			add(spec.InitContainers[i : i+1])
		}
	}
	return out
}

func normalPort(p corev1.ContainerPort) hostPort {
	h := hostPort{ip: p.HostIP, protocol: p.Protocol, port: p.HostPort}
	if h.ip == "" {
		h.ip = anyIP
	}
	if h.protocol == "" {
		h.protocol = corev1.ProtocolTCP
	}
	return h
}

// tolerates says whether one of the tolerations accepts the taint.
func tolerates(tolerations []corev1.Toleration, taint *corev1.Taint) bool {
	return slices.ContainsFunc(tolerations, func(t corev1.Toleration) bool { return Tolerates(&t, taint) })
}

// Tolerates says whether the toleration accepts the taint, by key, operator, value and effect.
func Tolerates(t *corev1.Toleration, taint *corev1.Taint) bool {
	if t.Effect != "" && t.Effect != taint.Effect {
		return false
	}
	if t.Key != "" && t.Key != taint.Key {
		return false
	}
	switch t.Operator {
	case corev1.TolerationOpExists:
		return true
	case corev1.TolerationOpEqual, "":
		return t.Key != "" && t.Value == taint.Value
	}
	return false
}
