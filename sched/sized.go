package sched

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/podstatus"
)

// sizing is a template together with what its pods' statuses share: such pods take the same of a node.
type sizing struct {
	class *class
	shape podstatus.Shape
}

// sizingsMax bounds what is remembered: shapes come and go with images and failures.
const sizingsMax = 4096

// sized is what a pod takes of its node. While its resources change in place it is the most of what it asks for, was allocated and runs
// with; a change that its node is too small for does not count (KEP-1287).
func (t *Table) sized(template *api.PodTemplate, status podstatus.Status) *class {
	c := classOf(template)
	shape := status.Shape()
	if !c.asks() || shape == (podstatus.Shape{}) { // a resize changes no pod's class of service
		return c
	}
	key := sizing{c, shape}
	if known := t.sizings[key]; known != nil {
		return known
	}
	if len(t.sizings) >= sizingsMax {
		clear(t.sizings)
	}
	t.sizings[key] = c.withStatus(template.Pod, status.Decode())
	return t.sizings[key]
}

// asks says whether a pod of the class asks for anything by an amount.
func (c *class) asks() bool {
	return c.cpuMilli != 0 || c.memory != 0 || c.ephemeral != 0 || len(c.extended) > 0
}

// withStatus is c with the amounts of a pod in that status; c itself if they are the same.
func (c *class) withStatus(p *corev1.Pod, status corev1.PodStatus) *class {
	pod := corev1.Pod{Spec: p.Spec, Status: status}
	out := *c
	out.cpuMilli, out.memory, out.ephemeral, out.extended = 0, 0, 0, nil
	out.addRequests(resource.PodRequests(&pod, resource.PodResourcesOptions{UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true}))
	if out.cpuMilli == c.cpuMilli && out.memory == c.memory && out.ephemeral == c.ephemeral {
		return c
	}
	out.score()
	return &out
}

// lessThan says whether a pod of the class takes less than one of another class.
func (c *class) lessThan(o *class) bool {
	return c.cpuMilli < o.cpuMilli || c.memory < o.memory || c.ephemeral < o.ephemeral
}
