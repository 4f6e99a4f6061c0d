package reconcile

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// syncReplicationController keeps the pods of a ReplicationController, the ReplicaSet of older days. It writes
// ReplicationControllers' statuses and pods.
func (e *Engine) syncReplicationController(k key) {
	o := e.object(ReplicationControllers, k.ns, k.name)
	if o == nil || e.written[o.ref] {
		return // a written one comes back when the write is observed
	}
	rc := o.obj.(*corev1.ReplicationController)
	rs := asReplicaSet(rc)
	f := e.flock(rc.UID)
	delete(e.refused, o.ref)
	if rc.DeletionTimestamp == nil && !e.terminating(rc.Namespace) {
		w := workload{ref: o.ref, obj: rc, gvk: corev1.SchemeGroupVersion.WithKind("ReplicationController"), component: "replication-controller"}
		if e.adopt(w, f) || e.release(f) || e.scalePods(w, f, rs) {
			return
		}
	}
	status, next := e.replicaStatus(rs, f)
	if !next.IsZero() {
		e.wake(k, next)
	}
	out := *rc
	out.Status = corev1.ReplicationControllerStatus{
		Replicas: status.Replicas, FullyLabeledReplicas: status.FullyLabeledReplicas, ReadyReplicas: status.ReadyReplicas,
		AvailableReplicas: status.AvailableReplicas, ObservedGeneration: status.ObservedGeneration,
		Conditions: asOlder(e.replicaFailure(o, rs.Status.Conditions)),
	}
	if !equality.Semantic.DeepEqual(&out.Status, &rc.Status) {
		e.put(ReplicationControllers, &out, o.rev)
	}
}

// asReplicaSet says what the controller wants in the words of the newer kind.
func asReplicaSet(rc *corev1.ReplicationController) *appsv1.ReplicaSet {
	rs := &appsv1.ReplicaSet{ObjectMeta: rc.ObjectMeta, Spec: appsv1.ReplicaSetSpec{Replicas: rc.Spec.Replicas, MinReadySeconds: rc.Spec.MinReadySeconds,
		Selector: &metav1.LabelSelector{MatchLabels: rc.Spec.Selector}}}
	if rc.Spec.Template != nil {
		rs.Spec.Template = *rc.Spec.Template
	}
	for _, c := range rc.Status.Conditions {
		rs.Status.Conditions = append(rs.Status.Conditions, appsv1.ReplicaSetCondition{Type: appsv1.ReplicaSetConditionType(c.Type), Status: c.Status,
			LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message})
	}
	return rs
}

// asOlder says conditions in the words of the older kind.
func asOlder(list []appsv1.ReplicaSetCondition) (out []corev1.ReplicationControllerCondition) {
	for _, c := range list {
		out = append(out, corev1.ReplicationControllerCondition{Type: corev1.ReplicationControllerConditionType(c.Type), Status: c.Status,
			LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message})
	}
	return out
}
