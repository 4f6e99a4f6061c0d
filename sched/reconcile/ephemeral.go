package reconcile

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
)

// syncEphemeral makes the claims of a pod's generic ephemeral volumes. They are the pod's own and go with it. It writes claims.
func (e *Engine) syncEphemeral(k key) {
	p := e.pod(k.ns, k.name)
	if p == nil || p.deleting() || p.rec.Terminal() || e.terminating(k.ns) {
		return
	}
	p.eachClaim(func(name types.NamespacedName, v *corev1.Volume) {
		if v.Ephemeral == nil || v.Ephemeral.VolumeClaimTemplate == nil || e.object(Claims, name.Namespace, name.Name) != nil ||
			e.written[ref{Claims, name.Namespace, name.Name}] {
			return
		}
		e.put(Claims, e.ephemeralClaim(p, name, v.Ephemeral.VolumeClaimTemplate), 0)
	})
}

func (e *Engine) ephemeralClaim(p *pod, name types.NamespacedName, t *corev1.PersistentVolumeClaimTemplate) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, Labels: t.Labels, Annotations: t.Annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(p.rec.Pod(), corev1.SchemeGroupVersion.WithKind("Pod"))}},
		Spec: *t.Spec.DeepCopy(),
	}
	k := api.KindFor(Claims)
	k.PrepareForCreate(c)
	k.Default(c)
	e.stamp(&c.ObjectMeta)
	c.Generation = 0
	return c
}

// failedClaim lets the pod that a claim is to be made for ask again.
func (e *Engine) failedClaim(m metav1.Object) {
	e.eachEnsemble(m.GetNamespace(), m.GetName(), func(k key) { e.retry(k, e.now) })
	if w := metav1.GetControllerOfNoCopy(m); w != nil && w.Kind == "Pod" {
		e.retry(key{area: areaEphemeral, ns: m.GetNamespace(), name: w.Name}, e.now)
	}
}
