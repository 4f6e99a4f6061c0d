package api

import (
	corev1 "k8s.io/api/core/v1"
)

// The built-in provisioner makes volumes that are directories of one node.
const (
	// LocalPathProvisioner is its name in storage classes.
	LocalPathProvisioner = "peapod.sh/local-path"
	// LocalPathFinalizer keeps the object of such a volume until its node has removed the directory.
	LocalPathFinalizer = "peapod.sh/local-path"
	// LocalPathAnnotation is a node's word for the directory below which it keeps volumes, as an absolute path.
	LocalPathAnnotation = "peapod.sh/volumes"
)

// The annotation by which a volume names the provisioner that made it, in Kubernetes' spelling.
const provisionedByAnnotation = "pv.kubernetes.io/provisioned-by"

// IsLocalPath says whether the built-in provisioner has made the volume.
func IsLocalPath(v *corev1.PersistentVolume) bool {
	return v.Annotations[provisionedByAnnotation] == LocalPathProvisioner && v.Spec.Local != nil
}

// LocalPathNode is the node that has the directory of a volume of the built-in provisioner; "" for every other volume.
func LocalPathNode(v *corev1.PersistentVolume) string {
	if !IsLocalPath(v) {
		return ""
	}
	return VolumeNode(v)
}

// VolumeNode is the only node from which a volume can be reached, by its name; "" if there may be others.
func VolumeNode(v *corev1.PersistentVolume) string {
	if v.Spec.NodeAffinity == nil || v.Spec.NodeAffinity.Required == nil {
		return ""
	}
	terms := v.Spec.NodeAffinity.Required.NodeSelectorTerms
	if len(terms) != 1 || len(terms[0].MatchExpressions) != 1 {
		return ""
	}
	r := terms[0].MatchExpressions[0]
	if r.Key != corev1.LabelHostname || r.Operator != corev1.NodeSelectorOpIn || len(r.Values) != 1 {
		return ""
	}
	return r.Values[0]
}

// LocalPathDoomed says whether nothing but the node's directory stands between the volume and its end: the node is to remove it
// and then the object.
func LocalPathDoomed(v *corev1.PersistentVolume) bool {
	return LocalPathNode(v) != "" && v.DeletionTimestamp != nil && v.Status.Phase != corev1.VolumeBound &&
		v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete &&
		len(v.Finalizers) == 1 && v.Finalizers[0] == LocalPathFinalizer
}
