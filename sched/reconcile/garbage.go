package reconcile

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
)

func (e *Engine) markItem(r ref) {
	e.mark(key{area: areaItem, resource: r.gr.String(), ns: r.ns, name: r.name})
}

// noticedGarbage marks what a change means for owners and dependents.
func (e *Engine) noticedGarbage(old, o *object) {
	if old != nil {
		for _, w := range old.meta.GetOwnerReferences() {
			e.dependentChanged(w.UID)
		}
	}
	if o == nil {
		e.ownerGone(old.meta.GetUID())
		return
	}
	if o.meta.GetDeletionTimestamp() != nil && collects(o.meta) != "" {
		e.mark(uidKey(o.meta.GetUID()))
	}
	for _, w := range o.meta.GetOwnerReferences() {
		if _, there := e.exists(w.UID); !there {
			e.markItem(o.ref)
		}
		e.dependentChanged(w.UID)
	}
}

// collects is the finalizer of the garbage collector that the object waits for; "" is none.
func collects(m metav1.Object) string {
	for _, f := range m.GetFinalizers() {
		if f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents {
			return f
		}
	}
	return ""
}

// ownerGone marks an owner that left dependents behind.
func (e *Engine) ownerGone(uid types.UID) {
	if f := e.flocks[uid]; len(e.dependents[uid]) > 0 || f != nil && len(f.pods) > 0 {
		e.mark(uidKey(uid))
	}
}

// dependentChanged marks an owner that waits for its dependents.
func (e *Engine) dependentChanged(owner types.UID) {
	if m := e.metaOf(owner); m != nil && m.GetDeletionTimestamp() != nil && collects(m) != "" {
		e.mark(uidKey(owner))
	}
}

// retryGarbage decides again after a failed write that may have been the collector's.
func (e *Engine) retryGarbage(r ref, m metav1.Object) {
	if m.GetDeletionTimestamp() != nil && collects(m) != "" {
		e.retry(uidKey(m.GetUID()), e.now)
	}
	for _, w := range m.GetOwnerReferences() {
		e.dependentChanged(w.UID)
		if _, there := e.exists(w.UID); !there {
			e.retry(key{area: areaItem, resource: r.gr.String(), ns: r.ns, name: r.name}, e.now)
		}
	}
	if r.ns != "" && e.terminating(r.ns) {
		e.retry(key{area: areaNamespace, name: r.ns}, e.now)
	}
}

// metaOf is the metadata of the object or pod with the UID; nil if there is none.
func (e *Engine) metaOf(uid types.UID) metav1.Object {
	r, there := e.exists(uid)
	if !there {
		return nil
	}
	if r.gr == Pods {
		if p := e.podByUID(r.ns, r.name, uid); p != nil {
			return p.rec.Pod()
		}
		return nil
	}
	if o := e.objects[r]; o != nil {
		return o.meta
	}
	return nil
}

// ownerState is what an owner reference points to.
type ownerState uint8

const (
	ownerThere   ownerState = iota
	ownerAbsent             // it does not exist
	ownerWaiting            // it is being deleted and waits for its dependents to go first
)

func (e *Engine) ownerState(ns string, w *metav1.OwnerReference) ownerState {
	r, there := e.exists(w.UID)
	if there && (r.ns == "" || r.ns == ns) {
		if m := e.metaOf(w.UID); m != nil && m.GetDeletionTimestamp() != nil && collects(m) == metav1.FinalizerDeleteDependents {
			return ownerWaiting
		}
		return ownerThere
	}
	gvk := schema.FromAPIVersionAndKind(w.APIVersion, w.Kind)
	if there || api.Scheme.Recognizes(gvk) || e.kindsSeen[gvk.GroupKind()] {
		return ownerAbsent
	}
	return ownerThere // a kind that this engine is not shown: it cannot know
}

// syncItem deletes an object none of whose owners is left, or takes dead owners off it.
func (e *Engine) syncItem(k key) {
	r := ref{schema.ParseGroupResource(k.resource), k.ns, k.name}
	if r.gr == Pods {
		if p := e.pod(k.ns, k.name); p != nil && !p.deleting() {
			e.collectPod(p)
		}
		return
	}
	if o := e.objects[r]; o != nil && o.meta.GetDeletionTimestamp() == nil {
		e.collectObject(o)
	}
}

// sortOwners splits references into those that keep the object alive and the others; waiting says
// that one of the others waits for this object.
func (e *Engine) sortOwners(ns string, refs []metav1.OwnerReference) (keep []metav1.OwnerReference, waiting bool) {
	for i := range refs {
		switch e.ownerState(ns, &refs[i]) {
		case ownerThere:
			keep = append(keep, refs[i])
		case ownerWaiting:
			waiting = true
		}
	}
	return keep, waiting
}

func (e *Engine) collectPod(p *pod) {
	refs := p.rec.Template.Pod.OwnerReferences
	keep, _ := e.sortOwners(p.ns(), refs)
	switch {
	case len(refs) == 0 || len(keep) == len(refs):
	case len(keep) > 0:
		e.ownPod(p, keep)
	default:
		e.doomPod(p, -1)
	}
}

func (e *Engine) collectObject(o *object) {
	refs := o.meta.GetOwnerReferences()
	keep, waiting := e.sortOwners(o.ns, refs)
	switch {
	case len(refs) == 0 || len(keep) == len(refs):
	case len(keep) > 0:
		e.setOwners(o, keep)
	case waiting && e.hasBlockers(o.meta.GetUID()):
		e.deleteObject(o, metav1.FinalizerDeleteDependents)
	default:
		e.deleteObject(o, "")
	}
}

func (e *Engine) setOwners(o *object, owners []metav1.OwnerReference) {
	if e.written[o.ref] {
		return
	}
	c := o.obj.DeepCopyObject()
	mustMeta(c).SetOwnerReferences(owners)
	e.put(o.gr, c, o.rev)
}

// deleteObject deletes an object, or marks it deleting if finalizers (or the one given) hold it.
func (e *Engine) deleteObject(o *object, finalizer string) {
	if e.written[o.ref] {
		return
	}
	held := o.meta.GetFinalizers()
	if finalizer == "" && len(held) == 0 {
		e.remove(o)
		return
	}
	if o.meta.GetDeletionTimestamp() != nil {
		return
	}
	c := o.obj.DeepCopyObject()
	m := mustMeta(c)
	at, zero := metav1.NewTime(e.now), int64(0)
	m.SetDeletionTimestamp(&at)
	m.SetDeletionGracePeriodSeconds(&zero)
	if finalizer != "" && !slices.Contains(held, finalizer) {
		m.SetFinalizers(append(slices.Clone(held), finalizer))
	}
	e.put(o.gr, c, o.rev)
}

// syncOwner clears up behind an owner that is gone, or that waits for its dependents.
func (e *Engine) syncOwner(k key) {
	uid := types.UID(k.name)
	m := e.metaOf(uid)
	if m == nil {
		e.collectDependents(uid)
		return
	}
	if m.GetDeletionTimestamp() == nil {
		return
	}
	switch collects(m) {
	case metav1.FinalizerOrphanDependents:
		if !e.orphanDependents(uid) {
			e.dropFinalizer(uid, metav1.FinalizerOrphanDependents)
		}
	case metav1.FinalizerDeleteDependents:
		e.collectDependents(uid)
		if !e.hasBlockers(uid) {
			e.dropFinalizer(uid, metav1.FinalizerDeleteDependents)
		}
	}
}

// dependentRefs lists an owner's dependents in a fixed order: objects, then pods by name.
func (e *Engine) dependentRefs(uid types.UID) []ref {
	return slices.SortedFunc(maps.Keys(e.dependents[uid]), compareRefs)
}

func (e *Engine) dependentPods(uid types.UID) []*pod {
	if f := e.flocks[uid]; f != nil {
		return podsByName(slices.Values(f.pods))
	}
	return nil
}

func (e *Engine) collectDependents(uid types.UID) {
	for _, r := range e.dependentRefs(uid) {
		if o := e.objects[r]; o.meta.GetDeletionTimestamp() == nil {
			e.collectObject(o)
		}
	}
	for _, p := range e.dependentPods(uid) {
		if !p.deleting() {
			e.collectPod(p)
		}
	}
}

// orphanDependents takes the owner off its dependents; it reports whether there were any.
func (e *Engine) orphanDependents(uid types.UID) (any bool) {
	for _, r := range e.dependentRefs(uid) {
		any = true
		e.setOwners(e.objects[r], withoutOwner(e.objects[r].meta.GetOwnerReferences(), uid))
	}
	for _, p := range e.dependentPods(uid) {
		any = true
		e.ownPod(p, withoutOwner(p.rec.Template.Pod.OwnerReferences, uid))
	}
	return any
}

func withoutOwner(refs []metav1.OwnerReference, uid types.UID) []metav1.OwnerReference {
	return slices.DeleteFunc(slices.Clone(refs), func(o metav1.OwnerReference) bool { return o.UID == uid })
}

// hasBlockers says whether dependents exist that their owner has to wait for.
func (e *Engine) hasBlockers(uid types.UID) bool {
	blocks := func(refs []metav1.OwnerReference) bool {
		return slices.ContainsFunc(refs, func(o metav1.OwnerReference) bool {
			return o.UID == uid && o.BlockOwnerDeletion != nil && *o.BlockOwnerDeletion
		})
	}
	for r := range e.dependents[uid] {
		if blocks(e.objects[r].meta.GetOwnerReferences()) {
			return true
		}
	}
	if f := e.flocks[uid]; f != nil {
		for _, p := range f.pods {
			if p.doom != gone && blocks(p.rec.Template.Pod.OwnerReferences) {
				return true
			}
		}
	}
	return false
}

// dropFinalizer takes a finalizer off a deleting object; the last one takes the object with it.
func (e *Engine) dropFinalizer(uid types.UID, finalizer string) {
	r, _ := e.exists(uid)
	if e.written[r] {
		return
	}
	without := func(m metav1.Object) []string {
		return slices.DeleteFunc(slices.Clone(m.GetFinalizers()), func(f string) bool { return f == finalizer })
	}
	if r.gr == Pods {
		e.dropPodFinalizer(e.podByUID(r.ns, r.name, uid), without)
		return
	}
	o := e.objects[r]
	rest := without(o.meta)
	if len(rest) == 0 && o.gr != Namespaces {
		e.remove(o)
		return
	}
	c := o.obj.DeepCopyObject()
	mustMeta(c).SetFinalizers(rest)
	e.put(o.gr, c, o.rev)
}

// dropPodFinalizer does the same for a pod, which also waits for its node unless its grace is over.
func (e *Engine) dropPodFinalizer(p *pod, without func(metav1.Object) []string) {
	np := p.rec.Pod()
	np.Finalizers = without(np)
	if len(np.Finalizers) == 0 && (p.rec.DeletionGrace == 0 || p.rec.Node == "" || p.rec.Terminal()) {
		e.remove(&object{ref: ref{Pods, p.ns(), p.name()}, obj: np, meta: np, rev: p.rec.Revision})
		return
	}
	e.put(Pods, np, p.rec.Revision)
}
