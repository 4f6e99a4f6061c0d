package sim

import (
	"fmt"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/sched/reconcile"
)

// editAnnotation of a StatefulSet's template counts what users have changed.
const editAnnotation = "edit"

// ask has a user's request decided by a leader, as the API does: by what it has applied, and only if that is the newest.
func (c *cluster) ask(decide func(s *server) ops.Op) {
	for _, s := range c.servers {
		if !s.up || s.stopped || s.role != leader {
			continue
		}
		if op := decide(s); op != nil {
			b, err := ops.Encode([]ops.Op{op})
			if err != nil {
				panic(err)
			}
			s.propose(b)
		}
		return
	}
}

// editSet changes the template of a StatefulSet, which rolls it, or how many pods it has.
func (c *cluster) editSet(name string, scale bool) {
	c.ask(func(s *server) ops.Op {
		o, ok := s.state.Get(reconcile.StatefulSets, "default", name)
		if !ok {
			return nil
		}
		set := o.(*appsv1.StatefulSet).DeepCopy()
		set.Generation++
		if scale {
			*set.Spec.Replicas = members + 1 - *set.Spec.Replicas
		} else {
			set.Spec.Template.Annotations = map[string]string{editAnnotation: fmt.Sprint(set.Generation)}
		}
		c.w.tell("ctl", "✎", name, fmt.Sprintf("replicas=%d %v", *set.Spec.Replicas, set.Spec.Template.Annotations))
		return &ops.Put{Resource: reconcile.StatefulSets, Object: set, Expect: revisionOf(set)}
	})
}

func revisionOf(o metav1.Object) uint64 {
	n, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// deletePod is kubectl delete pod: the pod has its own time to end.
func (c *cluster) deletePod() {
	c.ask(func(s *server) ops.Op {
		pods := slices.DeleteFunc(s.pods(), func(p *api.PodRecord) bool { return c.identity(p) == "" })
		if len(pods) == 0 {
			return nil
		}
		p := pods[c.w.rng.IntN(len(pods))]
		c.w.tell("ctl", "✎", "delete", c.label(string(p.UID), c.identity(p)))
		return &ops.DeletePods{Now: s.time().Unix(), Rows: []ops.DeleteRow{{Namespace: p.Namespace(), Name: p.Name, UID: p.UID, Grace: corev1.DefaultTerminationGracePeriodSeconds}}}
	})
}

// deleteNode is kubectl delete node, whether or not the node still runs pods. Its agent, if there is one, announces it again.
func (c *cluster) deleteNode(name string) {
	c.ask(func(s *server) ops.Op {
		if _, ok := s.state.Get(reconcile.Nodes, "", name); !ok {
			return nil
		}
		c.w.tell("ctl", "✎", "delete node", name)
		return &ops.Delete{Resource: reconcile.Nodes, Name: name, Expect: ops.Any}
	})
}

// announce has the agent's node registered again if the server that it asks knows of none.
func (n *node) announce() {
	s := n.server
	n.c.net.send(&n.process, &s.process, func() {
		if _, ok := s.state.Get(reconcile.Nodes, "", n.name); ok || s.state.Index() == 0 {
			return
		}
		b, err := ops.Encode([]ops.Op{&ops.Put{Resource: reconcile.Nodes, Object: nodeObject(n.name), Expect: ops.Absent}})
		if err != nil {
			panic(err)
		}
		s.write(b)
	})
}

// wanted is how many pods there are to be.
func (c *cluster) wanted(s *server) int {
	n := writers + web + c.scaledPods(s)
	for _, name := range c.sets() {
		n += int(*c.set(s, name).Spec.Replicas)
	}
	return n
}

func (c *cluster) sets() []string {
	if !c.options.Sets {
		return nil
	}
	return []string{ordered, burst}
}

func (c *cluster) set(s *server, name string) *appsv1.StatefulSet {
	o, ok := s.state.Get(reconcile.StatefulSets, "default", name)
	if !ok {
		panic("nobody removes StatefulSets")
	}
	return o.(*appsv1.StatefulSet)
}

// checkEdit: a pod of a StatefulSet is of the template that its set has.
func (c *cluster) checkEdit(s *server, p *api.PodRecord) {
	w := p.Controller()
	if w == nil || w.Kind != "StatefulSet" {
		return
	}
	want, got := c.set(s, w.Name).Spec.Template.Annotations[editAnnotation], p.Template.Pod.Annotations[editAnnotation]
	if got != want {
		c.w.fail("all is well", "pod %s is of edit %q, its set of %q", p.Name, got, want)
	}
}
