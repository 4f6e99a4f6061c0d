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

// uses are those of storage objects.
type uses struct {
	claims     map[types.NamespacedName]map[types.UID]*pod // pods with a node, by the claims that their volumes name
	attributes map[string]int                              // how many claims and volumes want a class of attributes
}

func newUses() uses {
	return uses{claims: map[types.NamespacedName]map[types.UID]*pod{}, attributes: map[string]int{}}
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
		e.uses.attributes[class] += by
		if e.uses.attributes[class] == 0 {
			delete(e.uses.attributes, class)
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

// indexClaims notes which claims a pod uses. One without a node uses none: no node starts a pod whose claim is being deleted.
func (e *Engine) indexClaims(p *pod) {
	if p.rec.Node == "" {
		return
	}
	for name := range claimsOf(p) {
		k := types.NamespacedName{Namespace: p.ns(), Name: name}
		if e.uses.claims[k] == nil {
			e.uses.claims[k] = map[types.UID]*pod{}
		}
		e.uses.claims[k][p.rec.UID] = p
	}
}

func (e *Engine) unindexClaims(p *pod) {
	for name := range claimsOf(p) {
		k := types.NamespacedName{Namespace: p.ns(), Name: name}
		delete(e.uses.claims[k], p.rec.UID)
		if len(e.uses.claims[k]) == 0 {
			delete(e.uses.claims, k)
		}
	}
	e.claimsChanged(p)
}

// claimsChanged marks the claims of a pod that may have let go of them.
func (e *Engine) claimsChanged(p *pod) {
	for name := range claimsOf(p) {
		e.markProtection(ref{Claims, p.ns(), name})
	}
}

// claimsOf are the names of the claims of a pod's volumes; the value says that the claim is made for the pod and named after it.
// Most pods have none, and cost no memory here.
func claimsOf(p *pod) (out map[string]bool) {
	volumes := p.rec.Spec().Volumes
	for i := range volumes {
		v := &volumes[i]
		if v.PersistentVolumeClaim == nil && v.Ephemeral == nil {
			continue
		}
		if out == nil {
			out = map[string]bool{}
		}
		if v.PersistentVolumeClaim != nil {
			out[v.PersistentVolumeClaim.ClaimName] = false
		} else if _, named := out[p.name()+"-"+v.Name]; !named {
			out[p.name()+"-"+v.Name] = true
		}
	}
	return out
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
	case leaving && held && !e.inUse(o):
		e.dropFinalizer(o.meta.GetUID(), finalizer)
	}
}

// inUse says whether something would miss the object.
func (e *Engine) inUse(o *object) bool {
	switch t := o.obj.(type) {
	case *corev1.PersistentVolumeClaim:
		return e.claimInUse(t)
	case *corev1.PersistentVolume:
		return t.Status.Phase == corev1.VolumeBound
	}
	return e.uses.attributes[o.name] > 0
}

// claimInUse looks at the pods that name the claim, also at those that have ended, as Kubernetes does. A claim that was made for a
// pod waits only for that pod, and not once nothing is left of it but finalizers, which may wait for the claim.
func (e *Engine) claimInUse(c *corev1.PersistentVolumeClaim) bool {
	for _, p := range e.uses.claims[types.NamespacedName{Namespace: c.Namespace, Name: c.Name}] {
		own := claimsOf(p)[c.Name]
		if !own || controls(p, c) && !(p.rec.Deleting() && p.rec.DeletionGrace == 0) {
			return true
		}
	}
	return false
}

func controls(p *pod, c *corev1.PersistentVolumeClaim) bool {
	return slices.ContainsFunc(c.OwnerReferences, func(w metav1.OwnerReference) bool {
		return w.UID == p.rec.UID && w.Controller != nil && *w.Controller
	})
}
