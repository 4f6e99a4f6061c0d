package reconcile

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/volume"
)

// storage is what the controllers of volumes keep beside the objects.
type storage struct {
	// users are the pods that name a claim, also the ones that have ended.
	users map[types.NamespacedName]map[types.UID]*pod
	// open are the claims that are not bound for good.
	open map[types.NamespacedName]struct{}
	// reserved are the volumes that name a claim, free those that are available to any claim of their class.
	reserved map[types.NamespacedName]map[string]struct{}
	free     map[string]map[string]struct{}
	// told is the last thing said about a claim or volume, so that it is not said again whenever anything near it changes.
	told map[ref]string
}

func newStorage() storage {
	return storage{
		users: map[types.NamespacedName]map[types.UID]*pod{}, open: map[types.NamespacedName]struct{}{},
		reserved: map[types.NamespacedName]map[string]struct{}{}, free: map[string]map[string]struct{}{}, told: map[ref]string{},
	}
}

// usesClaims says whether pods of the spec need volumes that outlive or are made for them, or devices.
func usesClaims(spec *corev1.PodSpec) bool {
	if len(spec.ResourceClaims) > 0 {
		return true
	}
	for i := range spec.Volumes {
		if v := &spec.Volumes[i]; v.PersistentVolumeClaim != nil || v.Ephemeral != nil {
			return true
		}
	}
	return false
}

// claimName is the claim behind a pod's volume; "" if it is of another kind.
func claimName(podName string, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return podName + "-" + v.Name
	}
	return ""
}

// eachClaim calls fn for every claim that a pod names.
func (p *pod) eachClaim(fn func(types.NamespacedName, *corev1.Volume)) {
	spec := p.rec.Spec()
	for i := range spec.Volumes {
		if name := claimName(p.name(), &spec.Volumes[i]); name != "" {
			fn(types.NamespacedName{Namespace: p.ns(), Name: name}, &spec.Volumes[i])
		}
	}
}

// indexUser notes which claims a pod uses.
func (e *Engine) indexUser(p *pod) {
	p.eachClaim(func(k types.NamespacedName, v *corev1.Volume) {
		if e.users[k] == nil {
			e.users[k] = map[types.UID]*pod{}
		}
		e.users[k][p.rec.UID] = p
		if v.Ephemeral != nil {
			e.mark(key{area: areaEphemeral, ns: p.ns(), name: p.name()})
		}
		e.markOpen(k)
	})
}

func (e *Engine) unindexUser(p *pod) {
	p.eachClaim(func(k types.NamespacedName, _ *corev1.Volume) {
		delete(e.users[k], p.rec.UID)
		if len(e.users[k]) == 0 {
			delete(e.users, k)
		}
		e.markOpen(k)
		e.markReserved(k) // a volume may have waited for its last user
		e.markClaimProtection(k)
	})
}

// userEnded marks what waits for a pod to let go of its claims.
func (e *Engine) userEnded(p *pod) {
	p.eachClaim(func(k types.NamespacedName, _ *corev1.Volume) { e.markReserved(k) })
}

func (e *Engine) markOpen(k types.NamespacedName) {
	if _, ok := e.open[k]; ok {
		e.mark(key{area: areaClaim, ns: k.Namespace, name: k.Name})
	}
}

func (e *Engine) markReserved(k types.NamespacedName) {
	for name := range e.reserved[k] {
		e.mark(key{area: areaVolume, name: name})
	}
}

// retryUsers has the scheduler try a claim's waiting pods again.
func (e *Engine) retryUsers(k types.NamespacedName) {
	for uid, p := range e.users[k] {
		if e.pending.waiting[uid] != nil {
			delete(e.pending.waiting, uid)
			e.pending.fresh[uid] = p
		}
	}
}

func asClaim(o *object) *corev1.PersistentVolumeClaim {
	if o == nil {
		return nil
	}
	return o.obj.(*corev1.PersistentVolumeClaim)
}

func asVolume(o *object) *corev1.PersistentVolume {
	if o == nil {
		return nil
	}
	return o.obj.(*corev1.PersistentVolume)
}

// bindDone says whether a claim has been bound once and for all.
func bindDone(c *corev1.PersistentVolumeClaim) bool {
	return c.Spec.VolumeName != "" && c.Annotations[volume.AnnBindCompleted] != ""
}

func (e *Engine) noticedClaim(old, o *object) {
	any := o
	if any == nil {
		any = old
		delete(e.told, old.ref)
	}
	k := types.NamespacedName{Namespace: any.ns, Name: any.name}
	e.mark(key{area: areaClaim, ns: k.Namespace, name: k.Name})
	if o == nil || bindDone(asClaim(o)) {
		delete(e.open, k)
	} else {
		e.open[k] = struct{}{}
	}
	for _, x := range []*object{old, o} {
		if c := asClaim(x); c != nil && c.Spec.VolumeName != "" {
			e.mark(key{area: areaVolume, name: c.Spec.VolumeName})
		}
	}
	e.markReserved(k)
	e.retryUsers(k)
	if o == nil {
		for _, p := range e.users[k] {
			e.mark(key{area: areaEphemeral, ns: p.ns(), name: p.name()})
		}
	}
}

func (e *Engine) noticedVolume(old, o *object) {
	any := o
	if any == nil {
		any = old
		delete(e.told, old.ref)
	}
	e.mark(key{area: areaVolume, name: any.name})
	e.indexFree(asVolume(old), asVolume(o))
	if k, ok := claimOf(asVolume(old)); ok {
		delete(e.reserved[k], any.name)
		if len(e.reserved[k]) == 0 {
			delete(e.reserved, k)
		}
		e.mark(key{area: areaClaim, ns: k.Namespace, name: k.Name})
		e.retryUsers(k)
	}
	if k, ok := claimOf(asVolume(o)); ok {
		if e.reserved[k] == nil {
			e.reserved[k] = map[string]struct{}{}
		}
		e.reserved[k][any.name] = struct{}{}
		e.mark(key{area: areaClaim, ns: k.Namespace, name: k.Name})
		e.retryUsers(k)
	}
	if v := asVolume(o); v != nil && v.Status.Phase == corev1.VolumeAvailable {
		e.offer(func(c *corev1.PersistentVolumeClaim) bool {
			return c.Spec.VolumeName == v.Name || c.Spec.VolumeName == "" && volume.GetPersistentVolumeClaimClass(c) == volume.GetPersistentVolumeClass(v)
		})
	}
}

// indexFree keeps the volumes that are there for the taking, by class.
func (e *Engine) indexFree(old, v *corev1.PersistentVolume) {
	if isFree(old) {
		class := volume.GetPersistentVolumeClass(old)
		delete(e.free[class], old.Name)
		if len(e.free[class]) == 0 {
			delete(e.free, class)
		}
	}
	if isFree(v) {
		class := volume.GetPersistentVolumeClass(v)
		if e.free[class] == nil {
			e.free[class] = map[string]struct{}{}
		}
		e.free[class][v.Name] = struct{}{}
	}
}

func isFree(v *corev1.PersistentVolume) bool {
	return v != nil && v.Spec.ClaimRef == nil && v.Status.Phase == corev1.VolumeAvailable && v.DeletionTimestamp == nil
}

// claimOf is the claim that a volume names.
func claimOf(v *corev1.PersistentVolume) (types.NamespacedName, bool) {
	if v == nil || v.Spec.ClaimRef == nil {
		return types.NamespacedName{}, false
	}
	return types.NamespacedName{Namespace: v.Spec.ClaimRef.Namespace, Name: v.Spec.ClaimRef.Name}, true
}

// offer has the open claims that want something looked at again, and the pods that wait for them.
func (e *Engine) offer(wants func(*corev1.PersistentVolumeClaim) bool) {
	for k := range e.open {
		if c := asClaim(e.object(Claims, k.Namespace, k.Name)); c != nil && wants(c) {
			e.markOpen(k)
			e.retryUsers(k)
		}
	}
}

// noticedClass offers a class to the claims that name it, or none: it may be the default now.
func (e *Engine) noticedClass(name string) {
	e.offer(func(c *corev1.PersistentVolumeClaim) bool {
		return !volume.PersistentVolumeClaimHasClass(c) || volume.GetPersistentVolumeClaimClass(c) == name
	})
}

// markVolumesOf marks the volumes that only the node could have removed.
func (e *Engine) markVolumesOf(node string) {
	for _, o := range e.list("", Volumes) {
		if localNode(o) == node {
			e.mark(key{area: areaVolume, name: o.name})
		}
	}
}

// inUse says whether a pod on a node names the claim and has not ended.
func (e *Engine) inUse(k types.NamespacedName) bool {
	for _, p := range e.users[k] {
		if p.rec.Node != "" && !p.rec.Terminal() {
			return true
		}
	}
	return false
}
