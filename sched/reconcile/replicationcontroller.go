package reconcile

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
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
	was := rc.Status
	if status.Replicas == was.Replicas && status.FullyLabeledReplicas == was.FullyLabeledReplicas && status.ReadyReplicas == was.ReadyReplicas &&
		status.AvailableReplicas == was.AvailableReplicas && status.ObservedGeneration == was.ObservedGeneration {
		return
	}
	out := *rc
	out.Status.Replicas, out.Status.FullyLabeledReplicas = status.Replicas, status.FullyLabeledReplicas
	out.Status.ReadyReplicas, out.Status.AvailableReplicas = status.ReadyReplicas, status.AvailableReplicas
	out.Status.ObservedGeneration = status.ObservedGeneration
	e.put(ReplicationControllers, &out, o.rev)
}

// asReplicaSet says what the controller wants in the words of the newer kind.
func asReplicaSet(rc *corev1.ReplicationController) *appsv1.ReplicaSet {
	rs := &appsv1.ReplicaSet{ObjectMeta: rc.ObjectMeta, Spec: appsv1.ReplicaSetSpec{Replicas: rc.Spec.Replicas, MinReadySeconds: rc.Spec.MinReadySeconds,
		Selector: &metav1.LabelSelector{MatchLabels: rc.Spec.Selector}}}
	if rc.Spec.Template != nil {
		rs.Spec.Template = *rc.Spec.Template
	}
	return rs
}
