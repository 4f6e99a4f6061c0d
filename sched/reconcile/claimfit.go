package reconcile

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/volume"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/sched"
)

// Why a node, or every node, is wrong for a pod's claims, in Kubernetes' words as far as it has any.
const (
	causeUnbound  = "pod has unbound immediate PersistentVolumeClaims"
	causeConflict = "node(s) didn't find available persistent volumes to bind"
	causeAffinity = "node(s) had volume node affinity conflict"
	causeDevices  = "nothing allocates the devices that spec.resourceClaims asks for"
	causeHeld     = "node(s) may not use ReadWriteOnce volumes that are in use on another node"
	causeTaken    = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
)

// demand is what the claims of one pod ask of its node.
type demand struct {
	bound []*corev1.PersistentVolume
	late  []lateClaim // that are bound together with the pod
	// held are the nodes of a claim's other users, for each claim of one writer that has some: any other node would be a second writer.
	held []map[string]bool
}

// lateClaim is a claim that waits for its first pod, with the volumes that could be its own.
type lateClaim struct {
	o     *object
	class *storagev1.StorageClass
	from  []*corev1.PersistentVolume
}

// placeUser places a pod that has claims. A claim that another pod's placement changes in this very step is waited for.
func (e *Engine) placeUser(p *pod) {
	d, cause, soon := e.demandOf(p)
	switch {
	case soon:
		e.pending.wait(p)
		return
	case cause != "":
		e.keepWaiting(p, d)
		e.tellUnschedulable(p, e.table.Unavailable(cause), true)
		return
	}
	fit := func(n *corev1.Node) string { return e.objection(d, n) }
	placed := e.table.Place(sched.Group{Template: p.rec.Template, UIDs: []types.UID{p.rec.UID}, Fit: fit})
	if node := placed.Nodes[0]; node != "" && !e.bindLate(d, node) {
		e.table.RemovePod(p.rec.UID)
		e.keepWaiting(p, d)
		return
	} else if node == "" {
		e.keepWaiting(p, d)
	}
	e.settlePlaced([]*pod{p}, placed, fit)
}

// keepWaiting files a pod that has no node, and has its claims say that they wait for it.
func (e *Engine) keepWaiting(p *pod, d *demand) {
	e.pending.wait(p)
	for i := range d.late {
		if o := d.late[i].o; !e.written[o.ref] {
			e.tellWaiting(o)
		}
	}
}

// demandOf looks at a pod's claims. Cause is why no node will do whatever it is like; soon says that a claim has just been written.
func (e *Engine) demandOf(p *pod) (d *demand, cause string, soon bool) {
	d = &demand{}
	if len(p.rec.Spec().ResourceClaims) > 0 {
		return d, causeDevices, false // a pod without its devices must not run
	}
	seen := map[types.NamespacedName]bool{}
	p.eachClaim(func(k types.NamespacedName, v *corev1.Volume) {
		if cause == "" && !seen[k] { // two of its volumes may be of one claim
			seen[k] = true
			cause = e.demandClaim(d, p, k, v)
		}
		soon = soon || e.written[ref{Claims, k.Namespace, k.Name}]
	})
	return d, cause, soon
}

func (e *Engine) demandClaim(d *demand, p *pod, k types.NamespacedName, v *corev1.Volume) string {
	o := e.object(Claims, k.Namespace, k.Name)
	c := asClaim(o)
	switch {
	case c == nil && v.Ephemeral != nil:
		return fmt.Sprintf("waiting for ephemeral volume controller to create the persistentvolumeclaim %q", k.Name)
	case c == nil:
		return fmt.Sprintf("persistentvolumeclaim %q not found", k.Name)
	case v.Ephemeral != nil && !metav1.IsControlledBy(c, p.rec.Pod()):
		return fmt.Sprintf("PVC %s/%s was not created for pod %s/%s (pod is not owner)", k.Namespace, k.Name, k.Namespace, p.name())
	case c.Status.Phase == corev1.ClaimLost:
		return fmt.Sprintf("persistentvolumeclaim %q bound to non-existent persistentvolume %q", k.Name, c.Spec.VolumeName)
	case c.DeletionTimestamp != nil:
		return fmt.Sprintf("persistentvolumeclaim %q is being deleted", k.Name)
	case e.takenByOther(c, p, k):
		return fmt.Sprintf("%d %s", e.table.Nodes(), causeTaken)
	}
	class := e.classOf(c)
	switch {
	case bindDone(c):
		bound := asVolume(e.object(Volumes, "", c.Spec.VolumeName))
		if bound == nil {
			return fmt.Sprintf("persistentvolumeclaim %q bound to non-existent persistentvolume %q", k.Name, c.Spec.VolumeName)
		}
		d.bound = append(d.bound, bound)
		if nodes := e.usersNodes(p, k); len(nodes) > 0 && api.OneWriter(c.Spec.AccessModes) && api.VolumeNode(bound) == "" {
			d.held = append(d.held, nodes)
		}
	case c.Spec.VolumeName != "" || !delayed(class):
		return causeUnbound
	default:
		d.late = append(d.late, lateClaim{o, class, e.candidates(c)})
	}
	return ""
}

// takenByOther says whether the claim is for one pod and another one has it.
func (e *Engine) takenByOther(c *corev1.PersistentVolumeClaim, p *pod, k types.NamespacedName) bool {
	for _, m := range c.Spec.AccessModes {
		if m != corev1.ReadWriteOncePod {
			continue
		}
		return len(e.usersNodes(p, k)) > 0
	}
	return false
}

// usersNodes are the nodes where other pods have the claim, also those that are about to end.
func (e *Engine) usersNodes(p *pod, k types.NamespacedName) map[string]bool {
	nodes := map[string]bool{}
	for uid, other := range e.users[k] {
		if node := e.roomOn(other); uid != p.rec.UID && node != "" && !other.rec.Terminal() {
			nodes[node] = true
		}
	}
	return nodes
}

// objection says what the pod's claims have against the node.
func (e *Engine) objection(d *demand, n *corev1.Node) string {
	for _, nodes := range d.held {
		if !nodes[n.Name] {
			return causeHeld
		}
	}
	for _, v := range d.bound {
		if volume.CheckNodeAffinity(v, n.Labels) != nil {
			return causeAffinity
		}
	}
	taken := map[string]*corev1.PersistentVolume{}
	for i := range d.late {
		l := &d.late[i]
		c := asClaim(l.o)
		if chosen := c.Annotations[volume.AnnSelectedNode]; chosen != "" && chosen != n.Name {
			return causeConflict
		}
		if v := e.match(c, l.from, n, taken, true); v != nil {
			taken[v.Name] = v
		} else if !canProvision(c, l.class, n) {
			return causeConflict
		}
	}
	return ""
}

func canProvision(c *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, n *corev1.Node) bool {
	switch class.Provisioner {
	case noProvisioner:
		return false
	case api.LocalPathProvisioner:
		return localRefusal(class, c) == "" && nodeRefusal(class, n) == ""
	}
	return inTopologies(class.AllowedTopologies, n.Labels)
}

// bindLate binds a pod's waiting claims to volumes of the node that it was given, or has those made. It is false if somebody else makes
// one: then the pod stays unbound until that is done.
func (e *Engine) bindLate(d *demand, node string) bool {
	n := e.object(Nodes, "", node).obj.(*corev1.Node)
	all, taken := true, map[string]*corev1.PersistentVolume{}
	for i := range d.late {
		l := &d.late[i]
		c := asClaim(l.o)
		v := e.match(c, l.from, n, taken, true)
		switch {
		case v != nil:
			taken[v.Name] = v
			e.bind(l.o, c, v)
		case l.class.Provisioner == api.LocalPathProvisioner:
			e.provisionLocal(l.o, c, l.class, n)
		default:
			all = false
			e.selectNode(l.o, c, l.class, node)
		}
	}
	return all
}

// selectNode tells an external provisioner where the pod will run.
func (e *Engine) selectNode(o *object, c *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, node string) {
	if c.Annotations[volume.AnnSelectedNode] == node {
		return
	}
	c = c.DeepCopy()
	metav1.SetMetaDataAnnotation(&c.ObjectMeta, volume.AnnSelectedNode, node)
	metav1.SetMetaDataAnnotation(&c.ObjectMeta, volume.AnnStorageProvisioner, class.Provisioner)
	metav1.SetMetaDataAnnotation(&c.ObjectMeta, volume.AnnBetaStorageProvisioner, class.Provisioner)
	e.put(Claims, c, o.rev)
}
