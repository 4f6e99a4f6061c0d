package reconcile

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// placed are new pods of one template that have the same labels, since their nodes are in the same place.
type placed struct {
	pod    *corev1.Pod
	labels map[string]string
	rows   []ops.PlanRow
}

// byPlace divides new pods by the labels that their nodes give them. Where nodes say nothing of their place, as in most clusters, all are
// one group with the template as it is.
func (e *Engine) byPlace(template *corev1.Pod, rows []ops.PlanRow) (out []placed) {
next:
	for _, row := range rows {
		labels := e.placeOf(row.Node)
		for i := range out {
			if maps.Equal(out[i].labels, labels) {
				out[i].rows = append(out[i].rows, row)
				continue next
			}
		}
		p := template
		if with := api.WithLabels(p.Labels, labels); len(labels) > 0 {
			variant := *p
			variant.Labels = with
			p = &variant
		}
		out = append(out, placed{p, labels, []ops.PlanRow{row}})
	}
	return out
}

// placeOf is what the labels of a node say of its place; nil if it says nothing or there is no node.
func (e *Engine) placeOf(node string) map[string]string {
	if o := e.object(Nodes, "", node); o != nil {
		return api.TopologyLabels(o.obj.(*corev1.Node))
	}
	return nil
}

// bindPod gives a pod its node. Only if the pod gets labels with it the whole pod is written: they are part of its template.
func (e *Engine) bindPod(p *pod, node string) {
	labels := e.placeOf(node)
	if len(labels) == 0 || e.written[ref{Pods, p.ns(), p.name()}] {
		e.binds = append(e.binds, ops.BindRow{Namespace: p.ns(), Name: p.name(), UID: p.rec.UID, Node: node})
		return
	}
	np := p.rec.Pod()
	np.Labels = api.WithLabels(np.Labels, labels)
	np.Spec.NodeName, np.Status.NominatedNodeName = node, ""
	setPodCondition(&np.Status, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(e.now.Unix(), 0)})
	e.put(Pods, np, p.rec.Revision)
}
