package reconcile

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// reasonRefused is the reason of the event and of the conditions that say so.
const reasonRefused = "FailedCreate"

// refuse notes that admission does not let a workload's pods in, and says why.
func (e *Engine) refuse(w workload, why string) {
	e.refused[w.ref] = why
	e.event(w.obj, w.gvk, corev1.EventTypeWarning, reasonRefused, w.component, "Error creating: "+why)
}

// markRefused lets admission be asked again. A workload that is gone by now is none of it.
func (e *Engine) markRefused() {
	for r := range e.refused {
		if o := e.objects[r]; o != nil {
			e.markObject(o)
		} else {
			delete(e.refused, r)
		}
	}
}

// replicaFailure is the conditions of a ReplicaSet with or without the one that says that its pods are refused. The first reason
// stays while there is any.
func (e *Engine) replicaFailure(o *object, list []appsv1.ReplicaSetCondition) []appsv1.ReplicaSetCondition {
	why, refused := e.refused[o.ref]
	i := slices.IndexFunc(list, func(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure })
	switch {
	case refused == (i >= 0):
		return list
	case refused:
		return append(slices.Clone(list), appsv1.ReplicaSetCondition{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue,
			Reason: reasonRefused, Message: why, LastTransitionTime: metav1.NewTime(e.now.Truncate(time.Second))})
	}
	return slices.Delete(slices.Clone(list), i, i+1)
}

// reportFailure tells of a deployment what its ReplicaSets tell: the current one first.
func (r *rollout) reportFailure() {
	var found *appsv1.ReplicaSetCondition
	look := func(m *member) {
		for i := range m.rs.Status.Conditions {
			if c := &m.rs.Status.Conditions[i]; found == nil && c.Type == appsv1.ReplicaSetReplicaFailure {
				found = c
			}
		}
	}
	if r.current != nil {
		look(r.current)
	}
	for _, m := range r.members {
		look(m)
	}
	if found != nil {
		r.setCondition(appsv1.DeploymentReplicaFailure, found.Status, found.Reason, found.Message)
		return
	}
	r.d.Status.Conditions = slices.DeleteFunc(r.d.Status.Conditions, func(c appsv1.DeploymentCondition) bool {
		return c.Type == appsv1.DeploymentReplicaFailure
	})
}
