package server

import (
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/api/quota"
	"github.com/peapod-sh/peapod/sched/reconcile"
)

// answer makes the pods that the engine asks about, until a quota refuses one. Webhooks and policies are not asked, since a question has no
// effect outside: as far as the play knows they let the pods in as they are.
func (p *play) answer(ask reconcile.Ask) error {
	var created []string
	why := ""
	for _, pod := range ask.Pods {
		taken, err := p.take(pod)
		if err != nil {
			why = err.Error()
			break
		}
		pod.UID, pod.CreationTimestamp = uuid.NewUUID(), metav1.NewTime(p.now)
		if err := p.apply(append(taken, &ops.Put{Resource: reconcile.Pods, Object: pod, Expect: ops.Absent})); err != nil {
			return err
		}
		created = append(created, pod.Name)
	}
	if err := p.observe(); err != nil {
		return err
	}
	p.engine.Answered(ask, p.now, created, why)
	return nil
}

// take is the writes of what a pod takes from its namespace's quotas, or an error if that is not left.
func (p *play) take(pod *corev1.Pod) (list []ops.Op, err error) {
	var quotas []corev1.ResourceQuota
	p.state.View().Table(reconcile.Quotas).Ascend(pod.Namespace, "", func(ns, _ string, o runtime.Object) bool {
		if ns == pod.Namespace {
			quotas = append(quotas, *o.(*corev1.ResourceQuota).DeepCopy())
		}
		return ns == pod.Namespace
	})
	if len(quotas) == 0 {
		return nil, nil
	}
	at := admission.NewAttributesRecord(pod, nil, corev1.SchemeGroupVersion.WithKind("Pod"), pod.Namespace, pod.Name,
		corev1.SchemeGroupVersion.WithResource("pods"), "", admission.Create, &metav1.CreateOptions{}, false, nil)
	quotas, err = resourcequota.CheckRequest(quotas, at, quota.Registry().Get(reconcile.Pods), nil)
	for i := range quotas {
		list = append(list, &ops.Put{Resource: reconcile.Quotas, Object: &quotas[i], Expect: ops.Any})
	}
	return list, err
}

// lack is how many pods a workload may not have, and why.
type lack struct {
	pods int
	why  string
}

// lacks finds the workloads that have fewer pods than they want since one was refused.
func (p *play) lacks() map[corev1.ObjectReference]lack {
	out, seen := map[corev1.ObjectReference]lack{}, map[corev1.ObjectReference]metav1.Time{}
	p.state.View().Table(reconcile.Events).Ascend("", "", func(_, _ string, o runtime.Object) bool {
		e := o.(*corev1.Event)
		about := corev1.ObjectReference{Kind: e.InvolvedObject.Kind, Namespace: e.InvolvedObject.Namespace, Name: e.InvolvedObject.Name}
		last := seen[about]
		if e.Reason != "FailedCreate" || e.LastTimestamp.Before(&last) {
			return true
		}
		if n := p.missing(about); n > 0 {
			out[about], seen[about] = lack{n, e.Message}, e.LastTimestamp
		}
		return true
	})
	return out
}

// missing is how many pods a workload has too few.
func (p *play) missing(about corev1.ObjectReference) int {
	o, ok := p.state.Get(podMakers[about.Kind], about.Namespace, about.Name)
	if !ok {
		return 0
	}
	switch o := o.(type) {
	case *appsv1.ReplicaSet:
		return int(*o.Spec.Replicas - o.Status.Replicas)
	case *corev1.ReplicationController:
		return int(*o.Spec.Replicas - o.Status.Replicas)
	case *appsv1.StatefulSet:
		return int(*o.Spec.Replicas - o.Status.Replicas)
	case *appsv1.DaemonSet:
		return int(o.Status.DesiredNumberScheduled - o.Status.CurrentNumberScheduled)
	case *batchv1.Job:
		n := *o.Spec.Parallelism
		if c := o.Spec.Completions; c != nil {
			n = min(n, *c-o.Status.Succeeded)
		}
		return int(n - o.Status.Active)
	}
	return 0
}

// refused adds the pods that are refused now and were not before.
func (p *play) refused(waiting groups) {
	for about, l := range p.lacks() {
		if n := l.pods - p.lacked[about].pods; n > 0 {
			waiting[PodGroup{Namespace: about.Namespace, Workload: p.workload(about.Kind, about.Namespace, about.Name), Reason: l.why}] += n
		}
	}
}
