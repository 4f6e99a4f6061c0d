package reconcile

import (
	"fmt"
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"

	"github.com/peapod-sh/peapod/api"
)

// provision has a volume made for a claim that found none: by the built-in provisioner at once, on the node if one is given; by any other
// once it has heard of the claim.
func (e *Engine) provision(o *object, c *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, node *corev1.Node) {
	name := volume.GetPersistentVolumeClaimClass(c)
	switch {
	case name == "":
		e.tell(o, corev1.EventTypeNormal, "FailedBinding", binderName, "no persistent volumes available for this claim and no storage class is set")
	case class == nil:
		e.tell(o, corev1.EventTypeWarning, "ProvisioningFailed", binderName, fmt.Sprintf("storageclass.storage.k8s.io %q not found", name))
	case class.Provisioner == noProvisioner:
		e.tell(o, corev1.EventTypeWarning, "ProvisioningFailed", binderName, fmt.Sprintf("no volume plugin matched name: %s", noProvisioner))
	case class.Provisioner == api.LocalPathProvisioner:
		e.provisionLocal(o, c, class, node)
	default:
		e.askProvisioner(o, c, class.Provisioner)
	}
}

// askProvisioner tells an external provisioner of the claim, as all of them expect to be told.
func (e *Engine) askProvisioner(o *object, c *corev1.PersistentVolumeClaim, name string) {
	if c.Annotations[volume.AnnStorageProvisioner] != name || c.Annotations[volume.AnnBetaStorageProvisioner] != name {
		c = c.DeepCopy()
		metav1.SetMetaDataAnnotation(&c.ObjectMeta, volume.AnnStorageProvisioner, name)
		metav1.SetMetaDataAnnotation(&c.ObjectMeta, volume.AnnBetaStorageProvisioner, name)
		e.put(Claims, c, o.rev)
	}
	e.tell(o, corev1.EventTypeNormal, "ExternalProvisioning", binderName, fmt.Sprintf(
		"Waiting for a volume to be created either by the external provisioner '%s' or manually by the system administrator. "+
			"If volume creation is delayed, please verify that the provisioner is running and correctly registered.", name))
}

func (e *Engine) provisionLocal(o *object, c *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, node *corev1.Node) {
	why := localRefusal(class, c)
	if why == "" && node == nil {
		if node = e.nodeForVolume(class); node == nil {
			why = "no node can take it"
		}
	}
	if why == "" {
		why = nodeRefusal(class, node)
	}
	if why != "" {
		e.tellRefused(o, class, why)
		return
	}
	v := e.newLocalVolume(c, class, node)
	c = c.DeepCopy()
	metav1.SetMetaDataAnnotation(&c.ObjectMeta, volume.AnnStorageProvisioner, class.Provisioner)
	metav1.SetMetaDataAnnotation(&c.ObjectMeta, volume.AnnBetaStorageProvisioner, class.Provisioner)
	if delayed(class) {
		metav1.SetMetaDataAnnotation(&c.ObjectMeta, volume.AnnSelectedNode, node.Name)
	}
	e.bind(o, c, v)
	e.tell(o, corev1.EventTypeNormal, "ProvisioningSucceeded", api.LocalPathProvisioner, "Successfully provisioned volume "+v.Name)
}

func (e *Engine) tellRefused(o *object, class *storagev1.StorageClass, why string) {
	e.tell(o, corev1.EventTypeWarning, "ProvisioningFailed", api.LocalPathProvisioner,
		fmt.Sprintf("failed to provision volume with StorageClass %q: %s", class.Name, why))
}

// localRefusal is why no node can give the claim a directory of the class.
func localRefusal(class *storagev1.StorageClass, c *corev1.PersistentVolumeClaim) string {
	if m := c.Spec.VolumeMode; m != nil && *m == corev1.PersistentVolumeBlock {
		return "a directory is no block device: volumeMode Block is not supported"
	}
	for _, m := range c.Spec.AccessModes {
		if m != corev1.ReadWriteOnce && m != corev1.ReadWriteOncePod {
			return fmt.Sprintf("a directory of one node cannot be reached from others: access mode %s is not supported", m)
		}
	}
	switch {
	case c.Spec.Selector != nil:
		return "a volume that is made for a claim has no labels to select: spec.selector is not supported"
	case c.Spec.DataSource != nil || c.Spec.DataSourceRef != nil:
		return "the directory of a new volume is empty: spec.dataSource is not supported"
	case len(class.MountOptions) > 0:
		return "a directory is not mounted with options: the class's mountOptions are not supported"
	case len(class.Parameters) > 0:
		return "a directory has no properties: the class's parameters are not supported"
	}
	return ""
}

// nodeRefusal is why the node cannot have a directory of the class.
func nodeRefusal(class *storagev1.StorageClass, n *corev1.Node) string {
	switch {
	case n.Annotations[api.LocalPathAnnotation] == "":
		return fmt.Sprintf("node %s has no place for volumes (it has not set annotation %s)", n.Name, api.LocalPathAnnotation)
	case !inTopologies(class.AllowedTopologies, n.Labels):
		return fmt.Sprintf("node %s is not within the class's allowedTopologies", n.Name)
	}
	return ""
}

func inTopologies(terms []corev1.TopologySelectorTerm, labels map[string]string) bool {
	inTerm := func(t corev1.TopologySelectorTerm) bool {
		return !slices.ContainsFunc(t.MatchLabelExpressions, func(r corev1.TopologySelectorLabelRequirement) bool {
			return !slices.Contains(r.Values, labels[r.Key])
		})
	}
	return len(terms) == 0 || slices.ContainsFunc(terms, inTerm)
}

// nodeForVolume chooses where a volume of a class goes that does not wait for its pod: the living node with the fewest of them.
func (e *Engine) nodeForVolume(class *storagev1.StorageClass) (best *corev1.Node) {
	count := map[string]int{}
	for _, o := range e.list("", Volumes) {
		count[localNode(o)]++
	}
	for _, o := range e.list("", Nodes) {
		n := o.obj.(*corev1.Node)
		if !keepsVolumes(n) || e.nodeDown(n.Name) || nodeRefusal(class, n) != "" {
			continue
		}
		if best == nil || count[n.Name] < count[best.Name] {
			best = n
		}
	}
	return best
}

// keepsVolumes says whether the node takes new volumes.
func keepsVolumes(n *corev1.Node) bool {
	ready := nodeCondition(n, corev1.NodeReady)
	return n.Annotations[api.LocalPathAnnotation] != "" && !n.Spec.Unschedulable && n.DeletionTimestamp == nil &&
		ready != nil && ready.Status == corev1.ConditionTrue
}

func localNode(o *object) string { return api.LocalPathNode(asVolume(o)) }

// newLocalVolume is a directory on the node; the node makes it when the first pod mounts it.
func (e *Engine) newLocalVolume(c *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, n *corev1.Node) *corev1.PersistentVolume {
	name, mode := "pvc-"+string(c.UID), corev1.PersistentVolumeFilesystem
	policy := corev1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	v := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{api.LocalPathFinalizer},
			Annotations: map[string]string{volume.AnnDynamicallyProvisioned: api.LocalPathProvisioner}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:    corev1.ResourceList{corev1.ResourceStorage: c.Spec.Resources.Requests[corev1.ResourceStorage]},
			AccessModes: c.Spec.AccessModes, PersistentVolumeReclaimPolicy: policy, StorageClassName: class.Name, VolumeMode: &mode,
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{
				Path: path.Join(n.Annotations[api.LocalPathAnnotation], name)}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{n.Name}}},
			}}}},
		},
	}
	e.stamp(&v.ObjectMeta)
	v.Generation = 0
	return v
}
