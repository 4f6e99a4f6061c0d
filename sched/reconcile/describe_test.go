package reconcile

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/component-helpers/storage/volume"

	"github.com/peapod-sh/peapod/api/ops"
)

// describe is the ops as lines that a person compares: one a row.
func describe(list []ops.Op) (out []string) {
	add := func(format string, a ...any) { out = append(out, fmt.Sprintf(format, a...)) }
	for _, op := range list {
		switch op := op.(type) {
		case *ops.Put:
			add("%s", describePut(op))
		case *ops.Delete:
			add("delete %s %s", op.Resource.Resource, op.Name)
		case *ops.PlanPods:
			for _, r := range op.Rows {
				add("plan pod %s%s on %s", op.Template.GenerateName, r.Suffix, or(r.Node, "no node"))
			}
		case *ops.BindPods:
			for _, r := range op.Rows {
				add("bind pod %s to %s", r.Name, r.Node)
			}
		case *ops.PodStatuses:
			for _, r := range op.Rows {
				var s corev1.PodStatus
				_ = s.Unmarshal(r.Status)
				var c []string
				for _, x := range s.Conditions {
					c = append(c, fmt.Sprintf("%s=%s %s", x.Type, x.Status, x.Message))
				}
				add("status pod %s %s", r.Name, strings.Join(c, "; "))
			}
		case *ops.DeletePods:
			for _, r := range op.Rows {
				add("delete pod %s grace %d", r.Name, r.Grace)
			}
		}
	}
	return out
}

func describePut(op *ops.Put) string {
	name := mustMeta(op.Object).GetName()
	switch o := op.Object.(type) {
	case *appsv1.ReplicaSet:
		return fmt.Sprintf("put replicaset %s wants %d has %d ready %d available %d revision %s", name, replicas(o.Spec.Replicas),
			o.Status.Replicas, o.Status.ReadyReplicas, o.Status.AvailableReplicas, o.Annotations[revisionAnnotation])
	case *appsv1.Deployment:
		var c []string
		for _, x := range o.Status.Conditions {
			c = append(c, fmt.Sprintf("%s=%s/%s", x.Type, x.Status, x.Reason))
		}
		return fmt.Sprintf("put deployment %s has %d updated %d ready %d available %d unavailable %d %s", name, o.Status.Replicas,
			o.Status.UpdatedReplicas, o.Status.ReadyReplicas, o.Status.AvailableReplicas, o.Status.UnavailableReplicas, strings.Join(c, " "))
	case *appsv1.StatefulSet:
		s := &o.Status
		return fmt.Sprintf("put statefulset %s has %d ready %d available %d current %d of %s updated %d of %s", name, s.Replicas, s.ReadyReplicas,
			s.AvailableReplicas, s.CurrentReplicas, s.CurrentRevision, s.UpdatedReplicas, s.UpdateRevision)
	case *appsv1.DaemonSet:
		s := &o.Status
		return fmt.Sprintf("put daemonset %s wants %d has %d astray %d ready %d available %d updated %d", name, s.DesiredNumberScheduled,
			s.CurrentNumberScheduled, s.NumberMisscheduled, s.NumberReady, s.NumberAvailable, s.UpdatedNumberScheduled)
	case *appsv1.ControllerRevision:
		return fmt.Sprintf("put controllerrevision %s number %d", name, o.Revision)
	case *discoveryv1.EndpointSlice:
		var in, out int
		for _, ep := range o.Endpoints {
			if *ep.Conditions.Ready {
				in++
			} else {
				out++
			}
		}
		return fmt.Sprintf("put endpointslice %s ready %d not %d", name, in, out)
	case *corev1.Endpoints:
		var in, out int
		for _, s := range o.Subsets {
			in, out = in+len(s.Addresses), out+len(s.NotReadyAddresses)
		}
		return fmt.Sprintf("put endpoints %s ready %d not %d", name, in, out)
	case *corev1.Node:
		var t []string
		for _, x := range o.Spec.Taints {
			t = append(t, x.Key+":"+string(x.Effect))
		}
		return fmt.Sprintf("put node %s cidr %s ready %s taints %v", name, o.Spec.PodCIDR, nodeCondition(o, corev1.NodeReady).Status, t)
	case *corev1.PersistentVolumeClaim:
		return fmt.Sprintf("put claim %s of %s %s volume %s held by %v", name, or(volume.GetPersistentVolumeClaimClass(o), "no class"), o.Status.Phase, or(o.Spec.VolumeName, "none"), o.Finalizers)
	case *corev1.PersistentVolume:
		where := "elsewhere"
		if o.Spec.Local != nil {
			where = o.Spec.Local.Path
		}
		return fmt.Sprintf("put volume %s %s at %s deleting %v held by %v", name, o.Status.Phase, where, o.DeletionTimestamp != nil, o.Finalizers)
	case *corev1.Event:
		return fmt.Sprintf("event %s %s x%d: %s", o.InvolvedObject.Kind, o.Reason, o.Count, o.Message)
	case *corev1.Pod:
		return fmt.Sprintf("put pod %s owners %d", name, len(o.OwnerReferences))
	}
	return fmt.Sprintf("put %s %s", op.Resource.Resource, name)
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func (w *world) note(list []ops.Op) {
	w.trace = append(w.trace, describe(list)...)
	if len(list) > 0 {
		w.trace = append(w.trace, "--")
	}
}
