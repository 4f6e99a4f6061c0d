package api

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/storage/volume"
)

func init() {
	Register(&Kind{
		GroupVersion: corev1.SchemeGroupVersion,
		Name:         "PersistentVolume", Resource: "persistentvolumes", Singular: "persistentvolume", ShortNames: []string{"pv"},
		ClusterScoped:          true,
		New:                    func() runtime.Object { return &corev1.PersistentVolume{} },
		NewList:                func() runtime.Object { return &corev1.PersistentVolumeList{} },
		Default:                with(defaultPersistentVolume),
		PrepareForCreate:       with(preparePersistentVolume),
		PrepareForStatusUpdate: withOld(preparePersistentVolumeStatus),
		Validate:               check(validatePersistentVolume),
		ValidateUpdate:         checkOld(validatePersistentVolumeUpdate),
		Warnings:               warnings(func(v *corev1.PersistentVolume, _ bool) []string { return persistentVolumeWarnings(v) }),
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			textColumn("Capacity", "How much the volume holds."),
			textColumn("Access Modes", "How the volume can be mounted."),
			textColumn("Reclaim Policy", "What becomes of the volume when its claim is gone."),
			textColumn("Status", "Whether the volume is free, bound or released."),
			textColumn("Claim", "The claim that the volume is bound to."),
			textColumn("StorageClass", "The class that the volume belongs to."),
			textColumn("VolumeAttributesClass", "The class of the volume's attributes."),
			textColumn("Reason", "Why the volume is in its state."),
			ageColumn,
			wide(textColumn("VolumeMode", "Whether the volume is a file system or a raw device.")),
		},
		Row:       row(persistentVolumeRow),
		HasStatus: true,
	})
}

func defaultPersistentVolume(v *corev1.PersistentVolume) {
	fill(&v.Status.Phase, corev1.VolumePending)
	fill(&v.Spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
	fillPtr(&v.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	roundUp(v.Spec.Capacity)
	defaultPersistentVolumeSource(&v.Spec.PersistentVolumeSource)
}

func defaultPersistentVolumeSource(s *corev1.PersistentVolumeSource) {
	if s.HostPath != nil {
		fillPtr(&s.HostPath.Type, corev1.HostPathUnset)
	}
	if s.ISCSI != nil {
		fill(&s.ISCSI.ISCSIInterface, iscsiInterfaceDefault)
	}
	if r := s.RBD; r != nil {
		defaultRBD(&r.RBDPool, &r.RadosUser, &r.Keyring)
	}
	defaultAzureDisk(s.AzureDisk)
	if d := s.ScaleIO; d != nil {
		defaultScaleIO(&d.StorageMode, &d.FSType)
	}
}

// preparePersistentVolume begins the volume's life: the phase it starts in, it has since its creation.
func preparePersistentVolume(v *corev1.PersistentVolume) {
	v.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumePending}
	if !v.CreationTimestamp.IsZero() {
		v.Status.LastPhaseTransitionTime = v.CreationTimestamp.DeepCopy()
	}
}

// preparePersistentVolumeStatus keeps the time of the last transition, unless the caller says another. It reads the clock, as only
// requests at the door are prepared, never what is applied.
func preparePersistentVolumeStatus(v, old *corev1.PersistentVolume) {
	s, o := &v.Status, &old.Status
	switch {
	case s.Phase == o.Phase && s.LastPhaseTransitionTime == nil:
		s.LastPhaseTransitionTime = o.LastPhaseTransitionTime.DeepCopy()
	case s.Phase != o.Phase && (s.LastPhaseTransitionTime == nil || s.LastPhaseTransitionTime.Equal(o.LastPhaseTransitionTime)):
		now := metav1.Now().Rfc3339Copy()
		s.LastPhaseTransitionTime = &now
	}
}

func persistentVolumeRow(v *corev1.PersistentVolume, now time.Time) []any {
	claim := ""
	if r := v.Spec.ClaimRef; r != nil {
		claim = r.Namespace + "/" + r.Name
	}
	phase := string(v.Status.Phase)
	if v.DeletionTimestamp != nil {
		phase = cellTerminating
	}
	capacity := v.Spec.Capacity[corev1.ResourceStorage]
	return []any{
		v.Name, capacity.String(), accessModesText(v.Spec.AccessModes), string(v.Spec.PersistentVolumeReclaimPolicy), phase, claim,
		volume.GetPersistentVolumeClass(v), orUnset(v.Spec.VolumeAttributesClassName), v.Status.Reason, age(v.CreationTimestamp, now),
		orUnset(v.Spec.VolumeMode),
	}
}

// cellTerminating stands for the phase of what is being deleted.
const cellTerminating = "Terminating"

// orUnset shows an optional text.
func orUnset[T ~string](p *T) string {
	if p == nil {
		return cellUnset
	}
	return string(*p)
}

// accessModesText shows each mode once and in a fixed order, by its initials.
func accessModesText(modes []corev1.PersistentVolumeAccessMode) string {
	var out []string
	for _, m := range []struct {
		mode corev1.PersistentVolumeAccessMode
		text string
	}{
		{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"}, {corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"},
	} {
		if slices.Contains(modes, m.mode) {
			out = append(out, m.text)
		}
	}
	return strings.Join(out, ",")
}

// persistentVolumeWarnings tells of fields that are on their way out, and of storage systems that are gone.
func persistentVolumeWarnings(v *corev1.PersistentVolume) []string {
	out := classAnnotationWarnings(v.Annotations)
	if _, ok := v.Annotations[corev1.MountOptionAnnotation]; ok {
		out = append(out, fmt.Sprintf("%s: deprecated since v1.31; use \"mountOptions\" attribute instead", annotationPath(corev1.MountOptionAnnotation)))
	}
	spec := field.NewPath("spec")
	if v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		out = append(out, fmt.Sprintf("%s: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
			spec.Child("persistentVolumeReclaimPolicy")))
	}
	if a := v.Spec.NodeAffinity; a != nil && a.Required != nil {
		terms := spec.Child("nodeAffinity", "required", "nodeSelectorTerms")
		for i := range a.Required.NodeSelectorTerms {
			out = append(out, nodeTermWarnings(&a.Required.NodeSelectorTerms[i], terms.Index(i))...)
		}
	}
	gone := func(set bool, name, deprecated, removed string) {
		if set {
			out = append(out, fmt.Sprintf("%s: deprecated in %s, non-functional in %s+", spec.Child(name), deprecated, removed))
		}
	}
	gone(v.Spec.PhotonPersistentDisk != nil, "photonPersistentDisk", "v1.11", "v1.16")
	gone(v.Spec.ScaleIO != nil, "scaleIO", "v1.16", "v1.22")
	gone(v.Spec.StorageOS != nil, "storageOS", "v1.22", "v1.25")
	gone(v.Spec.Glusterfs != nil, "glusterfs", "v1.25", "v1.26")
	gone(v.Spec.CephFS != nil, "cephfs", "v1.28", "v1.31")
	gone(v.Spec.RBD != nil, "rbd", "v1.28", "v1.31")
	return out
}

func annotationPath(key string) *field.Path { return field.NewPath("metadata", "annotations").Key(key) }

// classAnnotationWarnings tells of the annotation that once named the class of a volume or a claim.
func classAnnotationWarnings(annotations map[string]string) []string {
	if _, ok := annotations[corev1.BetaStorageClassAnnotation]; !ok {
		return nil
	}
	path := annotationPath(corev1.BetaStorageClassAnnotation)
	return []string{fmt.Sprintf("%s: deprecated since v1.8; use \"storageClassName\" attribute instead", path)}
}
