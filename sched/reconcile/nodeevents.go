package reconcile

import corev1 "k8s.io/api/core/v1"

// turn is a condition of a node that has changed.
type turn struct {
	condition corev1.NodeConditionType
	status    corev1.ConditionStatus
}

// schedulable is no condition that nodes have, but a turn that they take: new pods may be placed on them, or may not.
const schedulable corev1.NodeConditionType = "Schedulable"

// turnReasons are the words for a condition that is true, and for one that is false, as people know them from kubelets.
var turnReasons = map[turn]string{
	{corev1.NodeMemoryPressure, corev1.ConditionTrue}:  "NodeHasInsufficientMemory",
	{corev1.NodeMemoryPressure, corev1.ConditionFalse}: "NodeHasSufficientMemory",
	{corev1.NodeDiskPressure, corev1.ConditionTrue}:    "NodeHasDiskPressure",
	{corev1.NodeDiskPressure, corev1.ConditionFalse}:   "NodeHasNoDiskPressure",
	{corev1.NodePIDPressure, corev1.ConditionTrue}:     "NodeHasInsufficientPID",
	{corev1.NodePIDPressure, corev1.ConditionFalse}:    "NodeHasSufficientPID",
	{corev1.NodeReady, corev1.ConditionTrue}:           "NodeReady",
	{corev1.NodeReady, corev1.ConditionFalse}:          "NodeNotReady",
	{schedulable, corev1.ConditionTrue}:                "NodeSchedulable",
	{schedulable, corev1.ConditionFalse}:               "NodeNotSchedulable",
}

// noteConditions notes what a node says anew of itself; of one that has no addresses yet, since it has just come, all that it says. A
// new leader is shown every node, and has nothing new to tell.
func (e *Engine) noteConditions(old *object, n *corev1.Node) {
	if old == nil && (podCIDR(n) != "" || !e.cfg.ClusterCIDR.IsValid()) {
		return
	}
	for _, c := range n.Status.Conditions {
		var before corev1.ConditionStatus
		if old != nil {
			if o := nodeCondition(old.obj.(*corev1.Node), c.Type); o != nil {
				before = o.Status
			}
		}
		if c.Type == corev1.NodeReady && before == "" && c.Status == corev1.ConditionFalse {
			continue // a node is not ready before it has begun
		}
		if c.Status != before && turnReasons[turn{c.Type, c.Status}] != "" {
			e.turned[n.Name] = append(e.turned[n.Name], turn{c.Type, c.Status})
		}
	}
	switch {
	case old == nil:
		e.turned[n.Name] = append(e.turned[n.Name], turn{})
	case old.obj.(*corev1.Node).Spec.Unschedulable == n.Spec.Unschedulable:
	case n.Spec.Unschedulable:
		e.turned[n.Name] = append(e.turned[n.Name], turn{schedulable, corev1.ConditionFalse})
	default:
		e.turned[n.Name] = append(e.turned[n.Name], turn{schedulable, corev1.ConditionTrue})
	}
}

// sayConditions tells of what was noted. The zero turn is that the node has come.
func (e *Engine) sayConditions(n *corev1.Node) {
	gvk := corev1.SchemeGroupVersion.WithKind("Node")
	for _, t := range e.turned[n.Name] {
		if t == (turn{}) {
			e.event(n, gvk, corev1.EventTypeNormal, "RegisteredNode", "node-controller", "Node "+n.Name+" event: Registered Node "+n.Name+" in Controller")
			continue
		}
		reason := turnReasons[t]
		e.event(n, gvk, corev1.EventTypeNormal, reason, "kubelet", "Node "+n.Name+" status is now: "+reason)
	}
	delete(e.turned, n.Name)
}
