package rebalance

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/fsm"
	"github.com/peapod-sh/peapod/sched"
	"github.com/peapod-sh/peapod/sched/reconcile"
)

// Plan is which pods would be better on other nodes.
type Plan struct {
	Moves []Move
	Nodes []Load
	// Held are the pods that stay although they might move, since their budget allows no disruption now.
	Held int
}

// Move is one pod that would move.
type Move struct {
	Namespace, Name, UID string
	From, To, Reason     string
}

// Load is how much of a node is requested, in per cent of its cpu or memory, whichever is more.
type Load struct {
	Name          string
	Before, After int64
}

// New plans at most so many moves, on a table of its own, so the leader's work is not held up.
func New(v *fsm.View, most int) *Plan {
	g := &planner{view: v, table: sched.NewTable(1, ""), records: map[types.UID]*api.PodRecord{}}
	g.gather()
	before := g.table.Fullness()
	out := &Plan{Held: g.held}
	for _, m := range g.table.Rebalance(g.movable, most) {
		p := g.records[m.UID]
		out.Moves = append(out.Moves, Move{p.Namespace(), p.Name, string(p.UID), m.From, m.To, m.Reason})
	}
	for name, after := range g.table.Fullness() {
		out.Nodes = append(out.Nodes, Load{name, before[name] / 10, after / 10})
	}
	slices.SortFunc(out.Nodes, func(a, b Load) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

type planner struct {
	view    *fsm.View
	table   *sched.Table
	records map[types.UID]*api.PodRecord
	movable []sched.Movable
	budgets map[string][]*policyv1.PodDisruptionBudget
	held    int
}

// gather takes pods that are being deleted for gone: soon they are, and to move others away from them would leave their node too empty.
func (g *planner) gather() {
	g.budgets = map[string][]*policyv1.PodDisruptionBudget{}
	g.view.Table(reconcile.Nodes).Ascend("", "", func(_, _ string, o runtime.Object) bool {
		g.table.SetNode(o.(*corev1.Node))
		return true
	})
	g.view.Table(reconcile.Budgets).Ascend("", "", func(ns, _ string, o runtime.Object) bool {
		g.budgets[ns] = append(g.budgets[ns], o.(*policyv1.PodDisruptionBudget))
		return true
	})
	g.view.Table(reconcile.Pods).AscendPods("", "", func(p *api.PodRecord) bool {
		if p.Node != "" && !p.Terminal() && !p.Deleting() {
			g.take(p)
		}
		return true
	})
}

func (g *planner) take(p *api.PodRecord) {
	g.table.AddPod(p.UID, p.Node, p.Template, p.Status)
	g.records[p.UID] = p
	switch {
	case !g.mayMove(p):
	case g.holdBack(p):
		g.held++
	default:
		g.movable = append(g.movable, sched.Movable{UID: p.UID, Template: p.Template})
	}
}

// safeToEvict is the annotation by which people keep pods where they are, also from the autoscalers of other clusters.
const safeToEvict = "cluster-autoscaler.kubernetes.io/safe-to-evict"

// mayMove says whether a pod can be ended and made anew without loss: it is ready, somebody replaces it, and nothing of it is only on
// its node. A job's work would be lost.
func (g *planner) mayMove(p *api.PodRecord) bool {
	w := p.Controller()
	if w == nil || !p.Status.Ready() || p.Template.Pod.Annotations[safeToEvict] == "false" {
		return false
	}
	switch w.Kind {
	case "ReplicaSet", "ReplicationController", "StatefulSet":
	default:
		return false
	}
	return !strings.HasPrefix(p.Spec().PriorityClassName, "system-") && !slices.ContainsFunc(p.Spec().Volumes, func(vol corev1.Volume) bool { return g.local(p.Namespace(), &vol) })
}

// local says whether a volume's content is on one node only.
func (g *planner) local(ns string, vol *corev1.Volume) bool {
	switch {
	case vol.HostPath != nil || vol.EmptyDir != nil || vol.Ephemeral != nil:
		return true
	case vol.PersistentVolumeClaim == nil:
		return false
	}
	o, ok := g.view.Table(reconcile.Claims).Get(ns, vol.PersistentVolumeClaim.ClaimName)
	if !ok {
		return true
	}
	o, ok = g.view.Table(reconcile.Volumes).Get("", o.(*corev1.PersistentVolumeClaim).Spec.VolumeName)
	if !ok {
		return true
	}
	v := o.(*corev1.PersistentVolume)
	return v.Spec.NodeAffinity != nil || v.Spec.HostPath != nil || v.Spec.Local != nil
}

// holdBack says whether a budget of the pod allows no disruption now.
func (g *planner) holdBack(p *api.PodRecord) bool {
	return slices.ContainsFunc(g.budgets[p.Namespace()], func(b *policyv1.PodDisruptionBudget) bool {
		s, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		return err == nil && b.Status.DisruptionsAllowed <= 0 && s.Matches(labels.Set(p.Labels()))
	})
}
