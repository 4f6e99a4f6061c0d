package api

import (
	"fmt"
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validatePersistentVolume(v *corev1.PersistentVolume) field.ErrorList {
	s, spec := &v.Spec, field.NewPath("spec")
	errs := validateAccessModes(s.AccessModes, "", spec.Child("accessModes"))
	errs = append(errs, validateCapacity(s.Capacity, spec.Child("capacity"))...)
	if p := s.PersistentVolumeReclaimPolicy; p != "" {
		errs = append(errs, oneOf(p, spec.Child("persistentVolumeReclaimPolicy"),
			corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain)...)
	}
	if s.NodeAffinity != nil {
		errs = append(errs, validateVolumeNodeAffinity(s.NodeAffinity, spec.Child("nodeAffinity"))...)
	}
	errs = append(errs, validatePersistentVolumeSource(s, v.Name, spec)...)
	if s.StorageClassName != "" {
		errs = append(errs, validateClassName(s.StorageClassName, spec.Child("storageClassName"))...)
	}
	errs = append(errs, validateVolumeMode(s.VolumeMode, spec.Child("volumeMode"))...)
	errs = append(errs, validateVolumeAttributes(s, spec)...)
	return append(errs, validateMountOptionAnnotation(v)...)
}

// validateInlineVolume checks a volume that stands in a pod and was only written as a persistent one for its driver to attach.
// Whatever a claim would ask of it has no meaning there.
func validateInlineVolume(s *corev1.PersistentVolumeSpec, path *field.Path) (errs field.ErrorList) {
	forbid := func(set bool, name, detail string) {
		if set {
			errs = append(errs, field.Forbidden(path.Child(name), detail+" in the context of inline volumes"))
		}
	}
	const absent = "may not be specified"
	forbid(s.ClaimRef != nil, "claimRef", absent)
	forbid(len(s.Capacity) > 0, "capacity", absent)
	if s.CSI == nil {
		errs = append(errs, field.Required(path.Child("csi"), "has to be specified in the context of inline volumes"))
	}
	errs = append(errs, validateAccessModes(s.AccessModes, "", path.Child("accessModes"))...)
	forbid(s.PersistentVolumeReclaimPolicy != "" && s.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain,
		"persistentVolumeReclaimPolicy", "may only be "+string(corev1.PersistentVolumeReclaimRetain))
	forbid(s.NodeAffinity != nil, "nodeAffinity", absent)
	errs = append(errs, validatePersistentVolumeSource(s, "", path)...)
	forbid(s.StorageClassName != "", "storageClassName", absent)
	forbid(s.VolumeMode != nil && *s.VolumeMode != corev1.PersistentVolumeFilesystem,
		"volumeMode", "may not specify volumeMode other than "+string(corev1.PersistentVolumeFilesystem))
	return append(errs, validateVolumeAttributes(s, path)...)
}

// validateAccessModes wants at least one mode; the one that is for a single pod stands alone.
func validateAccessModes(modes []corev1.PersistentVolumeAccessMode, whenNone string, path *field.Path) (errs field.ErrorList) {
	if len(modes) == 0 {
		errs = append(errs, field.Required(path, whenNone))
	}
	alone, others := false, false
	for _, m := range modes {
		errs = append(errs, oneOf(m, path, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)...)
		alone = alone || m == corev1.ReadWriteOncePod
		others = others || m != corev1.ReadWriteOncePod
	}
	if alone && others {
		errs = append(errs, field.Forbidden(path, "may not use ReadWriteOncePod with other access modes"))
	}
	return errs
}

// validateCapacity: a volume has storage, and nothing else.
func validateCapacity(list corev1.ResourceList, path *field.Path) (errs field.ErrorList) {
	if len(list) == 0 {
		errs = append(errs, field.Required(path, ""))
	}
	if _, ok := list[corev1.ResourceStorage]; !ok || len(list) > 1 {
		errs = append(errs, field.NotSupported(path, list, []corev1.ResourceName{corev1.ResourceStorage}))
	}
	for _, name := range sortedKeys(list) {
		q, at := list[name], path.Key(string(name))
		errs = append(errs, validateBytes(q, at)...)
		errs = append(errs, validatePositive(q, at)...)
	}
	return errs
}

// validateBytes reports a size below zero.
func validateBytes(q resource.Quantity, path *field.Path) field.ErrorList {
	if q.Value() >= 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, q.Value(), "must be a valid resource quantity")}
}

func validatePositive(q resource.Quantity, path *field.Path) field.ErrorList {
	if q.Sign() > 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, q.String(), "must be greater than zero")}
}

func validateNonnegativeQuantity(q resource.Quantity, path *field.Path) field.ErrorList {
	if q.Sign() >= 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, q.String(), validation.IsNegativeErrorMsg)}
}

func validateVolumeMode(m *corev1.PersistentVolumeMode, path *field.Path) field.ErrorList {
	if m == nil {
		return nil
	}
	return oneOf(*m, path, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
}

// validateClassName: classes of storage and of attributes are named like most objects.
func validateClassName(name string, path *field.Path) field.ErrorList {
	return faults(path, name, validation.NameIsDNSSubdomain(name, false))
}

func validateVolumeNodeAffinity(a *corev1.VolumeNodeAffinity, path *field.Path) field.ErrorList {
	if a.Required == nil {
		return field.ErrorList{field.Required(path.Child("required"), "must specify required node constraints")}
	}
	return validateNodeSelector(a.Required, path.Child("required"))
}

// validatePersistentVolumeSource wants exactly one source, whose own fields are then checked.
func validatePersistentVolumeSource(s *corev1.PersistentVolumeSpec, name string, at *field.Path) (errs field.ErrorList) {
	set, found := setFields(&s.PersistentVolumeSource), false
	for _, kind := range persistentVolumeSources {
		switch {
		case !slices.Contains(set, kind.name):
		case found:
			errs = append(errs, field.Forbidden(at.Child(kind.name), "may not specify more than 1 volume type"))
		default:
			found = true
			errs = append(errs, kind.check(&s.PersistentVolumeSource, at.Child(kind.name))...)
		}
	}
	if !found {
		errs = append(errs, field.Required(at, "must specify a volume type"))
	}
	if i := s.ISCSI; i != nil && i.InitiatorName != nil && len(name+":"+i.TargetPortal) > iscsiInitiatorCharactersMax {
		errs = append(errs, field.Invalid(at.Child("iscsi", "targetportal"), i.TargetPortal,
			"Total length of <TargetPortal>:<iscsi.initiatorName> must be under 64 characters if iscsi.initiatorName is specified."))
	}
	if s.Local != nil && s.NodeAffinity == nil {
		errs = append(errs, field.Required(at.Child("nodeAffinity"), "Local volume requires node affinity"))
	}
	if s.HostPath != nil && path.Clean(s.HostPath.Path) == "/" && s.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		errs = append(errs, field.Forbidden(at.Child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'"))
	}
	return errs
}

// validateVolumeAttributes: only drivers change attributes of volumes, so only a driver's volume has a class of them.
func validateVolumeAttributes(s *corev1.PersistentVolumeSpec, path *field.Path) (errs field.ErrorList) {
	class := s.VolumeAttributesClassName
	if class == nil {
		return nil
	}
	at := path.Child("volumeAttributesClassName")
	if *class == "" {
		errs = append(errs, field.Required(at, "an empty string is disallowed"))
	} else {
		errs = append(errs, validateClassName(*class, at)...)
	}
	if s.CSI == nil {
		errs = append(errs, field.Required(path.Child("csi"), "has to be specified when using volumeAttributesClassName"))
	}
	return errs
}

// validateMountOptionAnnotation: the old way to give options is known to those storage systems alone that mount with options.
func validateMountOptionAnnotation(v *corev1.PersistentVolume) field.ErrorList {
	_, ok := v.Annotations[corev1.MountOptionAnnotation]
	if set := setFields(&v.Spec.PersistentVolumeSource); !ok || slices.ContainsFunc(set, takesMountOptions) {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath("metadata", "annotations", corev1.MountOptionAnnotation),
		"may not specify mount options for this volume type")}
}

func takesMountOptions(source string) bool {
	switch source {
	case "gcePersistentDisk", "awsElasticBlockStore", "glusterfs", "nfs", "rbd", "quobyte", "iscsi", "cinder", "cephfs", "azureFile",
		"vsphereVolume", "azureDisk", "portworxVolume":
		return true
	}
	return false
}

func validatePersistentVolumeUpdate(v, old *corev1.PersistentVolume) field.ErrorList {
	errs := validatePersistentVolume(v)
	source, before := v.Spec.PersistentVolumeSource.DeepCopy(), old.Spec.PersistentVolumeSource
	if source.CSI != nil && before.CSI != nil && before.CSI.ControllerExpandSecretRef == nil {
		source.CSI.ControllerExpandSecretRef = nil // a volume may learn later how it grows
	}
	if !equality.Semantic.DeepEqual(*source, before) {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "persistentvolumesource"),
			fmt.Sprintf("spec.persistentvolumesource is immutable after creation\n%v", diff.Diff(before, *source))))
	}
	errs = append(errs, validation.ValidateImmutableField(v.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
	if old.Spec.NodeAffinity != nil {
		errs = append(errs, validation.ValidateImmutableField(v.Spec.NodeAffinity,
			withRenamedLabels(old.Spec.NodeAffinity, v.Spec.NodeAffinity), field.NewPath("nodeAffinity"))...)
	}
	return errs
}

// withRenamedLabels is the old affinity, with those labels under their new names that the new affinity has so at the same place:
// labels of nodes may follow their renaming.
func withRenamedLabels(old, now *corev1.VolumeNodeAffinity) *corev1.VolumeNodeAffinity {
	out := old.DeepCopy()
	if out.Required == nil || now == nil || now.Required == nil || len(now.Required.NodeSelectorTerms) != len(out.Required.NodeSelectorTerms) {
		return out
	}
	for i := range out.Required.NodeSelectorTerms {
		was, is := out.Required.NodeSelectorTerms[i].MatchExpressions, now.Required.NodeSelectorTerms[i].MatchExpressions
		for j := range min(len(was), len(is)) {
			if r, ok := renamedLabels[was[j].Key]; ok && r.name == is[j].Key {
				was[j].Key = r.name
			}
		}
	}
	return out
}
