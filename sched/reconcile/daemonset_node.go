package reconcile

import (
	"cmp"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/sched"
)

// noticedDaemonSet keeps what is known of the set. A change of its spec concerns every node.
func (e *Engine) noticedDaemonSet(old, o *object) {
	if o == nil {
		delete(e.daemons, old.meta.GetUID())
		return
	}
	set := o.obj.(*appsv1.DaemonSet)
	d := e.daemons[set.UID]
	if d == nil {
		d = &daemon{ref: o.ref, berths: map[string]*berth{}, touched: map[string]struct{}{}}
		e.daemons[set.UID] = d
		for _, p := range e.flock(set.UID).pods {
			if p.counted.controlled {
				d.addPod(p)
			}
		}
	} else if d.generation == set.Generation {
		return
	}
	d.generation, d.all, d.failures = set.Generation, true, map[string]failure{}
	d.required = nodeaffinity.GetRequiredNodeAffinity(&corev1.Pod{Spec: set.Spec.Template.Spec})
	d.tolerations, d.node = daemonTolerations(&set.Spec.Template.Spec), set.Spec.Template.Spec.NodeName
}

// daemonTolerations are the template's, and those that pods of every DaemonSet have: they stay where others have to leave.
func daemonTolerations(spec *corev1.PodSpec) []corev1.Toleration {
	out := slices.Clone(spec.Tolerations)
	add := func(key string, effect corev1.TaintEffect) {
		t := corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: effect}
		for i := range out {
			if out[i].MatchToleration(&t) {
				out[i] = t // for ever, whatever the template says
				return
			}
		}
		out = append(out, t)
	}
	add(corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute)
	add(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute)
	add(corev1.TaintNodeDiskPressure, corev1.TaintEffectNoSchedule)
	add(corev1.TaintNodeMemoryPressure, corev1.TaintEffectNoSchedule)
	add(corev1.TaintNodePIDPressure, corev1.TaintEffectNoSchedule)
	add(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)
	if spec.HostNetwork {
		add(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule)
	}
	return out
}

// noticedBerths marks the node for every DaemonSet if anything by which they choose is different now.
func (e *Engine) noticedBerths(old, o *object) {
	name := cmp.Or(old, o).name
	if old != nil && o != nil {
		a, b := old.obj.(*corev1.Node), o.obj.(*corev1.Node)
		if maps.Equal(a.Labels, b.Labels) && slices.EqualFunc(a.Spec.Taints, b.Spec.Taints, func(x, y corev1.Taint) bool {
			return x.Key == y.Key && x.Value == y.Value && x.Effect == y.Effect
		}) {
			return
		}
	}
	for _, d := range e.daemons {
		e.touchBerth(d, name)
	}
}

func (e *Engine) touchBerth(d *daemon, node string) {
	if d.all {
		e.mark(key{area: areaDaemonSet, ns: d.ns, name: d.name})
		return
	}
	e.mark(key{area: areaBerth, ns: d.ns, name: d.name, resource: node})
}

// countBerth keeps the pods of a DaemonSet by node, and marks the node of one that counts as something else from now on.
func (e *Engine) countBerth(f *flock, p *pod, is tally) {
	if !f.known || f.owner.gr != DaemonSets {
		return
	}
	d := e.daemons[f.uid]
	if d == nil {
		return // its pods are gathered when it is noticed
	}
	switch {
	case is.controlled && !p.counted.controlled:
		d.addPod(p)
	case !is.controlled:
		d.dropPod(p)
	}
	e.touchBerth(d, berthOf(p))
}

// berthOf is the node that a pod is on or was made for.
func berthOf(p *pod) string {
	if p.rec.Node != "" {
		return p.rec.Node
	}
	node, _ := api.PinnedTo(p.rec.Spec())
	return node
}

func (d *daemon) addPod(p *pod) {
	b := d.berths[berthOf(p)]
	if b == nil {
		b = &berth{}
		d.berths[berthOf(p)] = b
	}
	b.pods = append(b.pods, p)
}

func (d *daemon) dropPod(p *pod) {
	if b := d.berths[berthOf(p)]; b != nil {
		b.pods = slices.DeleteFunc(b.pods, func(q *pod) bool { return q == p })
	}
}

// eligible says whether the node should have a pod, and whether one that is there may stay: a taint that keeps new pods away ends none.
func (d *daemon) eligible(n *corev1.Node) (wanted, kept bool) {
	if d.node != "" && d.node != n.Name {
		return false, false
	}
	if ok, err := d.required.Match(n); err != nil || !ok {
		return false, false
	}
	wanted, kept = true, true
	for i := range n.Spec.Taints {
		t := &n.Spec.Taints[i]
		if t.Effect == corev1.TaintEffectPreferNoSchedule || slices.ContainsFunc(d.tolerations, func(x corev1.Toleration) bool { return sched.Tolerates(&x, t) }) {
			continue
		}
		wanted, kept = false, kept && t.Effect != corev1.TaintEffectNoExecute
	}
	return wanted, kept
}
