package reconcile

import (
	"fmt"
	"maps"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
)

// Delays before a pod that has ended again is followed by the next on its node.
const (
	daemonDelayMin = time.Second
	daemonDelayMax = 15 * time.Minute
)

// templateGenerationLabel is the number of the template in pods, as older clients know it.
const templateGenerationLabel = "pod-template-generation"

// clearEnded deletes pods that have ended, so that others take their place: after growing delays, since the next may end for the same reason.
func (m *muster) clearEnded(node string, b *berth) {
	for _, p := range b.pods {
		if !p.rec.Terminal() || p.deleting() || m.backsOff(node) {
			continue
		}
		if p.rec.Phase() == corev1.PodFailed {
			m.say(corev1.EventTypeWarning, "FailedDaemonPod", fmt.Sprintf("Found failed daemon pod %s/%s on node %s, will try to kill it", p.ns(), p.name(), node))
		} else {
			m.say(corev1.EventTypeNormal, "SucceededDaemonPod", fmt.Sprintf("Found succeeded daemon pod %s/%s on node %s, will try to delete it", p.ns(), p.name(), node))
		}
		m.remove(p)
	}
}

// backsOff says whether a node has to wait with its next pod; if so it comes back then. If not the next time will be longer.
func (m *muster) backsOff(node string) bool {
	f := m.d.failures[node]
	if m.e.now.Sub(f.last) > 2*daemonDelayMax {
		f = failure{}
	}
	if f.count > 0 {
		if at := f.last.Add(min(daemonDelayMin<<min(f.count-1, 10), daemonDelayMax)); m.e.now.Before(at) {
			m.e.wake(key{area: areaBerth, ns: m.w.ns, name: m.w.name, resource: node}, at)
			return true
		}
	}
	m.d.failures[node] = failure{f.count + 1, m.e.now}
	return false
}

// createPods plans a pod for every node that gets one. Where there is room it is on its node from the start; else it waits for that node.
func (m *muster) createPods() {
	if len(m.create) == 0 {
		return
	}
	p := m.e.podOf(m.w, &m.set.Spec.Template)
	m.labelPod(p)
	p.Spec.Tolerations = m.d.tolerations
	if !m.e.prepare(m.w, p) {
		m.d.all = true // whoever changes what has refused it marks the set, not its nodes
		return
	}
	api.PinTo(&p.Spec, "")
	template, err := api.NewPodTemplate(p)
	if err != nil {
		m.say(corev1.EventTypeWarning, reasonRefused, "Error creating: "+err.Error())
		return
	}
	rows := m.e.newRows(m.w.ns, p.GenerateName, len(m.create))
	placed := m.placeRows(template, rows)
	for _, g := range m.e.byPlace(template.Pod, placed) {
		for _, part := range chunks(g.rows, planRowsMax) {
			m.e.plans = append(m.e.plans, &ops.PlanPods{Template: g.pod, Created: m.e.now.Unix(), Rows: part})
		}
	}
	made := make([]madePod, len(rows))
	for i := range rows {
		made[i] = madePod{name: p.GenerateName + rows[i].Suffix, node: rows[i].Node, uid: rows[i].UID}
	}
	m.e.saidCreated(m.w, made)
}

// placeRows fills in the nodes, and plans those that have no room there one by one: each says in its own template where it wants to go.
// It returns the others.
func (m *muster) placeRows(template *api.PodTemplate, rows []ops.PlanRow) (placed []ops.PlanRow) {
	spec := &template.Pod.Spec
	now := ours(spec) && len(spec.SchedulingGates) == 0 && !usesClaims(spec)
	for i, node := range m.create {
		if now {
			rows[i].Node = m.e.table.PlaceOn(template, rows[i].UID, node).Nodes[0]
		}
		if rows[i].Node != "" {
			placed = append(placed, rows[i])
			continue
		}
		p := *template.Pod
		api.PinTo(&p.Spec, node)
		m.e.plans = append(m.e.plans, &ops.PlanPods{Template: &p, Created: m.e.now.Unix(), Rows: rows[i : i+1]})
	}
	return placed
}

func (m *muster) labelPod(p *corev1.Pod) {
	p.Labels = maps.Clone(p.Labels)
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	p.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] = m.d.hash
	if n := m.set.Annotations[appsv1.DeprecatedTemplateGeneration]; n != "" {
		p.Labels[templateGenerationLabel] = n
	}
}
