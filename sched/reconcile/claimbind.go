package reconcile

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/volume"
)

// candidates are the volumes that a claim may be bound to as far as access modes go, and that this step has left alone.
func (e *Engine) candidates(c *corev1.PersistentVolumeClaim) (out []*corev1.PersistentVolume) {
	names := slices.Collect(maps.Keys(e.reserved[types.NamespacedName{Namespace: c.Namespace, Name: c.Name}]))
	names = slices.AppendSeq(names, maps.Keys(e.free[volume.GetPersistentVolumeClaimClass(c)]))
	slices.Sort(names)
	for _, name := range names {
		if o := e.object(Volumes, "", name); !e.written[o.ref] && volume.CheckAccessModes(c, asVolume(o)) {
			out = append(out, asVolume(o))
		}
	}
	return out
}

// match is the volume that a claim gets: one that names it, or else the smallest that is big enough, of its class, with the labels it
// selects, and reachable from the node if one is given. Without a node a claim that waits for its consumer gets only one that names it.
func (e *Engine) match(c *corev1.PersistentVolumeClaim, from []*corev1.PersistentVolume, node *corev1.Node,
	taken map[string]*corev1.PersistentVolume, waits bool) *corev1.PersistentVolume {
	v, err := volume.FindMatchingVolume(c, from, node, taken, waits, true)
	if err != nil { // a selector that validation would have refused selects nothing
		return nil
	}
	return v
}

// bind joins a claim and a volume, in both objects at once. Should only one of the two writes apply, the next step finishes it.
func (e *Engine) bind(o *object, c *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) {
	expect := uint64(0)
	if known := e.object(Volumes, "", v.Name); known != nil {
		expect = known.rev
	}
	bound, changed, err := volume.GetBindVolumeToClaim(v, c)
	if err != nil {
		panic("reconcile: a claim has no reference: " + err.Error())
	}
	if e.setPhase(bound, corev1.VolumeBound, "") || changed || expect == 0 {
		e.put(Volumes, bound, expect)
	}
	c = c.DeepCopy()
	if c.Spec.VolumeName == "" {
		c.Spec.VolumeName = v.Name
		metav1.SetMetaDataAnnotation(&c.ObjectMeta, volume.AnnBoundByController, "yes")
	}
	metav1.SetMetaDataAnnotation(&c.ObjectMeta, volume.AnnBindCompleted, "yes")
	c.Status.Phase, c.Status.AccessModes = corev1.ClaimBound, v.Spec.AccessModes
	c.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: v.Spec.Capacity[corev1.ResourceStorage]}
	e.put(Claims, c, o.rev)
}

// setPhase changes a volume's phase and says since when; it reports whether that is new. What others say in the status of a volume whose
// phase stays is theirs.
func (e *Engine) setPhase(v *corev1.PersistentVolume, p corev1.PersistentVolumePhase, message string) bool {
	if v.Status.Phase == p {
		return false
	}
	now := metav1.NewTime(e.now.Truncate(time.Second))
	v.Status.Phase, v.Status.Message, v.Status.LastPhaseTransitionTime = p, message, &now
	return true
}
