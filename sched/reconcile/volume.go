package reconcile

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/volume"

	"github.com/peapod-sh/peapod/api"
)

// syncVolume says in which phase a volume is, and brings one to its end whose claim is gone. It writes volumes.
func (e *Engine) syncVolume(k key) {
	o := e.object(Volumes, "", k.name)
	if o == nil || e.written[o.ref] {
		return
	}
	v := asVolume(o)
	phase, unbind := e.phaseOf(v)
	next := v.DeepCopy()
	if unbind {
		freeVolume(next)
	}
	if e.setPhase(next, phase, "") || unbind {
		e.put(Volumes, next, o.rev)
		return
	}
	if v.DeletionTimestamp != nil {
		e.letGo(o, v)
	} else if phase == corev1.VolumeReleased {
		e.reclaim(o, v)
	}
}

// phaseOf compares a volume with the claim that it names. Unbind says that its controller has bound it to a claim that has gone another
// way, so that it is free again.
func (e *Engine) phaseOf(v *corev1.PersistentVolume) (phase corev1.PersistentVolumePhase, unbind bool) {
	r := v.Spec.ClaimRef
	if r == nil || r.UID == "" {
		return corev1.VolumeAvailable, false
	}
	c := asClaim(e.object(Claims, r.Namespace, r.Name))
	switch {
	case c == nil || c.UID != r.UID:
		if v.Status.Phase == corev1.VolumeFailed {
			return corev1.VolumeFailed, false
		}
		return corev1.VolumeReleased, false
	case c.Spec.VolumeName == v.Name:
		return corev1.VolumeBound, false
	case c.Spec.VolumeName == "": // the claim follows
		e.mark(key{area: areaClaim, ns: r.Namespace, name: r.Name})
		return v.Status.Phase, false
	case api.IsLocalPath(v):
		return corev1.VolumeReleased, false // it was made for that claim and is nobody else's
	}
	return corev1.VolumeAvailable, true
}

// freeVolume takes the claim off a volume; a user's own reservation stays, without the claim's identity.
func freeVolume(v *corev1.PersistentVolume) {
	if v.Annotations[volume.AnnBoundByController] == "" {
		v.Spec.ClaimRef.UID, v.Spec.ClaimRef.ResourceVersion = "", ""
		return
	}
	delete(v.Annotations, volume.AnnBoundByController)
	v.Spec.ClaimRef = nil
}

// reclaim does what the volume's policy wants once its claim is gone and no pod uses it any more.
func (e *Engine) reclaim(o *object, v *corev1.PersistentVolume) {
	used := types.NamespacedName{Namespace: v.Spec.ClaimRef.Namespace, Name: v.Spec.ClaimRef.Name}
	switch policy := v.Spec.PersistentVolumeReclaimPolicy; {
	case policy == corev1.PersistentVolumeReclaimRecycle:
		e.failVolume(o, v, "VolumeFailedRecycle", "No recycler plugin found for the volume!")
	case policy != corev1.PersistentVolumeReclaimDelete || e.inUse(used):
	case api.IsLocalPath(v):
		e.deleteObject(o, "") // its finalizer holds it until the node has removed the directory
	case v.Annotations[volume.AnnDynamicallyProvisioned] == "":
		e.failVolume(o, v, "VolumeFailedDelete", fmt.Sprintf(
			"error getting deleter volume plugin for volume %q: no deletable volume plugin matched", v.Name))
	}
}

func (e *Engine) failVolume(o *object, v *corev1.PersistentVolume, reason, message string) {
	v = v.DeepCopy()
	e.setPhase(v, corev1.VolumeFailed, message)
	e.put(Volumes, v, o.rev)
	e.tell(o, corev1.EventTypeWarning, reason, binderName, message)
}

// letGo takes the provisioner's finalizer off a volume that is being deleted where its node has nothing to do or will never do it.
func (e *Engine) letGo(o *object, v *corev1.PersistentVolume) {
	node := api.LocalPathNode(v)
	i := slices.Index(v.Finalizers, api.LocalPathFinalizer)
	removes := v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete && e.object(Nodes, "", node) != nil
	if i < 0 || v.Status.Phase == corev1.VolumeBound || removes {
		return
	}
	if len(v.Finalizers) == 1 {
		e.remove(o)
		return
	}
	v = v.DeepCopy()
	v.Finalizers = slices.Delete(v.Finalizers, i, i+1)
	e.put(Volumes, v, o.rev)
}
