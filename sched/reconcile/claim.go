package reconcile

import (
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/volume"

	"github.com/peapod-sh/peapod/api"
)

// binderName is what Kubernetes' controller of claims calls itself in events.
const binderName = "persistentvolume-controller"

// noProvisioner is the provisioner of classes whose volumes are made by people.
const noProvisioner = "kubernetes.io/no-provisioner"

// syncClaim binds a claim to a volume, has one made for it, or says why it waits. It writes claims, and the volumes that it binds.
func (e *Engine) syncClaim(k key) {
	o := e.object(Claims, k.ns, k.name)
	if o == nil || e.written[o.ref] {
		return
	}
	switch c := asClaim(o); {
	case bindDone(c):
		e.keepBound(o, c)
	case c.DeletionTimestamp != nil || e.terminating(k.ns): // nobody will use it any more
	case c.Spec.VolumeName != "":
		e.bindNamed(o, c)
	case !e.giveClass(o, c):
		e.bindOpen(o, c)
	}
}

// giveClass gives a claim that names no class the default one, also if that came later than the claim.
func (e *Engine) giveClass(o *object, c *corev1.PersistentVolumeClaim) bool {
	if _, old := c.Annotations[corev1.BetaStorageClassAnnotation]; old || c.Spec.StorageClassName != nil {
		return false
	}
	class := e.defaultClass()
	if class == nil {
		return false
	}
	c = c.DeepCopy()
	c.Spec.StorageClassName = &class.Name
	e.put(Claims, c, o.rev)
	return true
}

// defaultClass is the class that counts where several are default: the one that was made last, of equals the first by name.
func (e *Engine) defaultClass() (found *storagev1.StorageClass) {
	for _, o := range e.list("", StorageClasses) {
		c := o.obj.(*storagev1.StorageClass)
		if api.IsDefaultStorageClass(c) && (found == nil || found.CreationTimestamp.Before(&c.CreationTimestamp)) {
			found = c
		}
	}
	return found
}

// classOf is the class that a claim names; nil if it names none or one that does not exist.
func (e *Engine) classOf(c *corev1.PersistentVolumeClaim) *storagev1.StorageClass {
	name := volume.GetPersistentVolumeClaimClass(c)
	if o := e.object(StorageClasses, "", name); name != "" && o != nil {
		return o.obj.(*storagev1.StorageClass)
	}
	return nil
}

// delayed says whether claims of the class are bound when their first pod is placed.
func delayed(class *storagev1.StorageClass) bool {
	return class != nil && class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
}

// bindOpen finds a volume for a claim that takes any, or has one made.
func (e *Engine) bindOpen(o *object, c *corev1.PersistentVolumeClaim) {
	class := e.classOf(c)
	if v := e.match(c, e.candidates(c), nil, nil, delayed(class)); v != nil {
		e.bind(o, c, v)
		return
	}
	if !delayed(class) {
		e.provision(o, c, class, nil)
		return
	}
	node := e.consumersNode(o, c)
	if node == nil {
		e.tellWaiting(o)
		return
	}
	if v := e.match(c, e.candidates(c), node, nil, true); v != nil {
		e.bind(o, c, v)
		return
	}
	e.provision(o, c, class, node)
}

// consumersNode is where the claim's volume must be reachable: the scheduler's choice, or the node of a pod that was put there
// without the scheduler.
func (e *Engine) consumersNode(o *object, c *corev1.PersistentVolumeClaim) *corev1.Node {
	name := c.Annotations[volume.AnnSelectedNode]
	if name == "" {
		for _, p := range podsByName(maps.Values(e.users[types.NamespacedName{Namespace: o.ns, Name: o.name}])) {
			if p.rec.Node != "" && !p.rec.Terminal() && !p.deleting() {
				name = p.rec.Node
				break
			}
		}
	}
	if n := e.object(Nodes, "", name); name != "" && n != nil {
		return n.obj.(*corev1.Node)
	}
	return nil
}

// tellWaiting says for whom a claim waits, or that it waits in vain. Of a pod that is about to be placed nothing is said: the claim goes
// with it.
func (e *Engine) tellWaiting(o *object) {
	c := asClaim(o)
	class := e.classOf(c)
	if why := localRefusal(class, c); class.Provisioner == api.LocalPathProvisioner && why != "" {
		e.tellRefused(o, class, why)
		return
	}
	for _, p := range podsByName(maps.Values(e.users[types.NamespacedName{Namespace: o.ns, Name: o.name}])) {
		if e.pending.fresh[p.rec.UID] != nil {
			return
		}
		if !p.deleting() && !p.rec.Terminal() {
			e.tell(o, corev1.EventTypeNormal, "WaitForPodScheduled", binderName, fmt.Sprintf("waiting for pod %s to be scheduled", p.name()))
			return
		}
	}
	e.tell(o, corev1.EventTypeNormal, "WaitForFirstConsumer", binderName, "waiting for first consumer to be created before binding")
}

// tell says something about a claim or volume, unless it was the last thing said.
func (e *Engine) tell(o *object, kind, reason, component, message string) {
	if said := reason + ": " + message; e.told[o.ref] != said {
		e.told[o.ref] = said
		gvk := corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim")
		if o.gr == Volumes {
			gvk.Kind = "PersistentVolume"
		}
		e.event(o.meta, gvk, kind, reason, component, message)
	}
}

// bindNamed binds a claim to the volume that its user has chosen.
func (e *Engine) bindNamed(o *object, c *corev1.PersistentVolumeClaim) {
	v := asVolume(e.object(Volumes, "", c.Spec.VolumeName))
	switch {
	case v == nil || e.written[ref{gr: Volumes, name: v.Name}]:
	case volume.IsVolumeBoundToClaim(v, c):
		e.bind(o, c, v)
	case v.Spec.ClaimRef != nil:
		e.tell(o, corev1.EventTypeWarning, "FailedBinding", binderName, fmt.Sprintf("volume %q already bound to a different claim.", v.Name))
	case v.DeletionTimestamp != nil:
	default:
		if why := mismatch(c, v); why != "" {
			e.tell(o, corev1.EventTypeWarning, "VolumeMismatch", binderName, fmt.Sprintf("Cannot bind to requested volume %q: %s", v.Name, why))
			return
		}
		e.bind(o, c, v)
	}
}

// mismatch is why a claim may not have the volume that it names.
func mismatch(c *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) string {
	want, has := c.Spec.Resources.Requests[corev1.ResourceStorage], v.Spec.Capacity[corev1.ResourceStorage]
	switch {
	case has.Cmp(want) < 0:
		return "requested PV is too small"
	case volume.GetPersistentVolumeClaimClass(c) != volume.GetPersistentVolumeClass(v):
		return "storageClassName does not match"
	case volume.CheckVolumeModeMismatches(&c.Spec, &v.Spec):
		return "incompatible volumeMode"
	case !volume.CheckAccessModes(c, v):
		return "incompatible accessMode"
	}
	return ""
}

// keepBound looks after a claim that has been bound: its volume may be gone, or may have to grow.
func (e *Engine) keepBound(o *object, c *corev1.PersistentVolumeClaim) {
	vo := e.object(Volumes, "", c.Spec.VolumeName)
	v := asVolume(vo)
	switch {
	case v == nil:
		e.lose(o, c, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
	case e.written[vo.ref]:
	case v.Spec.ClaimRef == nil || volume.IsVolumeBoundToClaim(v, c) && v.Spec.ClaimRef.UID == "":
		e.bind(o, c, v)
	case v.Spec.ClaimRef.UID != c.UID:
		e.lose(o, c, "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
	case c.Status.Phase != corev1.ClaimBound:
		e.bind(o, c, v)
	default:
		e.grow(o, c, vo, v)
	}
}

func (e *Engine) lose(o *object, c *corev1.PersistentVolumeClaim, reason, message string) {
	if c.Status.Phase == corev1.ClaimLost {
		return
	}
	c = c.DeepCopy()
	c.Status.Phase, c.Status.Capacity, c.Status.AccessModes = corev1.ClaimLost, nil, nil
	e.put(Claims, c, o.rev)
	e.tell(o, corev1.EventTypeWarning, reason, binderName, message)
}

// grow gives a claim the size that it asks for, where nothing but a number stands in the way: a directory has no size of its own.
func (e *Engine) grow(o *object, c *corev1.PersistentVolumeClaim, vo *object, v *corev1.PersistentVolume) {
	want, has := c.Spec.Resources.Requests[corev1.ResourceStorage], c.Status.Capacity[corev1.ResourceStorage]
	if want.Cmp(has) <= 0 || c.DeletionTimestamp != nil {
		return
	}
	if !api.IsLocalPath(v) {
		e.tell(o, corev1.EventTypeNormal, "ExternalExpanding", "volume_expand", "waiting for an external controller to expand this PVC")
		return
	}
	if size := v.Spec.Capacity[corev1.ResourceStorage]; size.Cmp(want) < 0 {
		v = v.DeepCopy()
		v.Spec.Capacity[corev1.ResourceStorage] = want
		e.put(Volumes, v, vo.rev)
	}
	c = c.DeepCopy()
	c.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: want}
	e.put(Claims, c, o.rev)
	e.tell(o, corev1.EventTypeNormal, "VolumeResizeSuccessful", api.LocalPathProvisioner, "Resize volume succeeded to "+want.String())
}
