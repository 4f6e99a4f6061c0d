package reconcile

import (
	"math"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// spreading counts the Deployment's pods that live, by revision and by node, as one op after another changes that.
type spreading struct {
	f     *fleet
	known map[types.UID]*api.PodRecord // those that no op has deleted
	on    map[string]map[string]int
}

// checkSpread holds at the moment of each binding of one of the Deployment's pods: its node has at most maxSkew more pods of its
// revision than the node that has the fewest. Pods that are being deleted do not count. Invariant 215.
func (f *fleet) checkSpread(list []ops.Op) {
	if !f.spread {
		return
	}
	s := &spreading{f: f, known: f.mine("web"), on: map[string]map[string]int{}}
	for _, p := range s.known {
		if p.Node != "" && !p.Deleting() && !p.Terminal() {
			s.count(p.Template, p.Node, 1)
		}
	}
	for _, op := range list {
		s.take(op)
	}
}

func (s *spreading) take(op ops.Op) {
	switch op := op.(type) {
	case *ops.PlanPods:
		for _, r := range op.Rows {
			if op.Template.Labels["app"] == "web" && r.Node != "" {
				t, err := api.NewPodTemplate(op.Template.DeepCopy())
				if err != nil {
					s.f.fail("template: %v", err)
				}
				s.bind(t, op.Template.GenerateName+r.Suffix, r.Node)
			}
		}
	case *ops.BindPods:
		for _, r := range op.Rows {
			if p := s.known[r.UID]; p != nil {
				s.bind(p.Template, p.Name, r.Node)
			}
		}
	case *ops.DeletePods:
		for _, r := range op.Rows {
			if p := s.known[r.UID]; p != nil && p.Node != "" && !p.Deleting() && !p.Terminal() {
				s.count(p.Template, p.Node, -1)
			}
			delete(s.known, r.UID)
		}
	}
}

// count keeps one number for each node that there is; pods on others are no domain's.
func (s *spreading) count(t *api.PodTemplate, node string, by int) {
	revision := t.Pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	if s.on[revision] == nil {
		s.on[revision] = map[string]int{}
		for _, n := range s.f.list(Nodes) {
			s.on[revision][n.name] = 0
		}
	}
	if _, there := s.on[revision][node]; there {
		s.on[revision][node] += by
	}
}

func (s *spreading) bind(t *api.PodTemplate, name, node string) {
	s.count(t, node, 1)
	on, least := s.on[t.Pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey]], math.MaxInt
	for _, n := range on {
		least = min(least, n)
	}
	if skew := on[node] - least; skew > maxSkewOf(t.Pod) {
		s.f.fail("pod %s is bound to %s, with a skew of %d: %v", name, node, skew, on)
	}
}

func maxSkewOf(p *corev1.Pod) int {
	for _, c := range p.Spec.TopologySpreadConstraints {
		if c.WhenUnsatisfiable == corev1.DoNotSchedule {
			return int(c.MaxSkew)
		}
	}
	return math.MaxInt
}
