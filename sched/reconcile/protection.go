package reconcile

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
)

// protections are the finalizers that hold a storage object while something uses it, so that nobody pulls a volume away from under
// a pod.
var protections = map[schema.GroupResource]string{
	Claims:            api.ClaimProtectionFinalizer,
	Volumes:           api.VolumeProtectionFinalizer,
	AttributesClasses: api.AttributesProtectionFinalizer,
}

// noticedStorage counts who wants which attributes, and marks what protects the object and what it has let go of.
func (e *Engine) noticedStorage(old, o *object) {
	if old != nil {
		e.markProtection(old.ref)
		e.countAttributes(old.obj, -1)
	}
	if o != nil {
		e.markProtection(o.ref)
		e.countAttributes(o.obj, 1)
	}
}

func (e *Engine) markProtection(r ref) { e.mark(protectionKey(r)) }

func protectionKey(r ref) key {
	return key{area: areaProtection, resource: r.gr.String(), ns: r.ns, name: r.name}
}

func (e *Engine) countAttributes(o runtime.Object, by int) {
	for _, class := range attributesOf(o) {
		e.wanting[class] += by
		if e.wanting[class] == 0 {
			delete(e.wanting, class)
		}
		e.markProtection(ref{gr: AttributesClasses, name: class})
	}
}

// attributesOf are the classes of attributes that a claim or a volume has or is to have.
func attributesOf(o runtime.Object) (out []string) {
	add := func(class *string) {
		if class != nil && *class != "" {
			out = append(out, *class)
		}
	}
	switch o := o.(type) {
	case *corev1.PersistentVolume:
		add(o.Spec.VolumeAttributesClassName)
	case *corev1.PersistentVolumeClaim:
		add(o.Spec.VolumeAttributesClassName)
		add(o.Status.CurrentVolumeAttributesClassName)
		if m := o.Status.ModifyVolumeStatus; m != nil {
			add(&m.TargetVolumeAttributesClassName)
		}
	}
	return out
}

// markClaimProtection has the protection of a pod's claim looked at again.
func (e *Engine) markClaimProtection(k types.NamespacedName) {
	e.markProtection(ref{Claims, k.Namespace, k.Name})
}

// syncProtection puts the finalizer on an object that lacks it, since it was not made through the API, and takes it off one that is
// being deleted and that nothing uses.
func (e *Engine) syncProtection(k key) {
	r := ref{schema.ParseGroupResource(k.resource), k.ns, k.name}
	o, finalizer := e.objects[r], protections[r.gr]
	if o == nil || e.written[r] {
		return
	}
	held := slices.Contains(o.meta.GetFinalizers(), finalizer)
	leaving := o.meta.GetDeletionTimestamp() != nil
	switch {
	case !leaving && !held:
		c := o.obj.DeepCopyObject()
		mustMeta(c).SetFinalizers(append(slices.Clone(o.meta.GetFinalizers()), finalizer))
		e.put(r.gr, c, o.rev)
	case leaving && held && !e.needed(o):
		e.dropFinalizer(o.meta.GetUID(), finalizer)
	}
}

// needed says whether something would miss the object.
func (e *Engine) needed(o *object) bool {
	switch t := o.obj.(type) {
	case *corev1.PersistentVolumeClaim:
		return e.claimInUse(t)
	case *corev1.PersistentVolume:
		return t.Status.Phase == corev1.VolumeBound
	}
	return e.wanting[o.name] > 0
}

// claimInUse looks at the pods that have a node and name the claim, also at those that have ended, as Kubernetes does. A claim that was
// made for a pod waits only for that pod, and not once nothing is left of it but finalizers, which may wait for the claim.
func (e *Engine) claimInUse(c *corev1.PersistentVolumeClaim) bool {
	k := types.NamespacedName{Namespace: c.Namespace, Name: c.Name}
	for _, p := range e.users[k] {
		if p.rec.Node == "" {
			continue // no node starts a pod whose claim is being deleted
		}
		if !madeFor(p, k) || controls(p, c) && !(p.rec.Deleting() && p.rec.DeletionGrace == 0) {
			return true
		}
	}
	return false
}

// madeFor says whether a pod names a claim only as one that is made for it.
func madeFor(p *pod, claim types.NamespacedName) bool {
	made := true
	p.eachClaim(func(k types.NamespacedName, v *corev1.Volume) {
		made = made && (k != claim || v.Ephemeral != nil)
	})
	return made
}

func controls(p *pod, c *corev1.PersistentVolumeClaim) bool {
	return slices.ContainsFunc(c.OwnerReferences, func(w metav1.OwnerReference) bool {
		return w.UID == p.rec.UID && w.Controller != nil && *w.Controller
	})
}
