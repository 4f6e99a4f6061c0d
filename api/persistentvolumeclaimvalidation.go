package api

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/diff"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// claimKind is the one kind of the core group that a volume's data can come from.
const claimKind = "PersistentVolumeClaim"

func validatePersistentVolumeClaim(c *corev1.PersistentVolumeClaim) field.ErrorList {
	return validatePersistentVolumeClaimSpec(&c.Spec, field.NewPath("spec"))
}

// validatePersistentVolumeClaimSpec checks a claim, also inside the templates of other kinds.
func validatePersistentVolumeClaimSpec(s *corev1.PersistentVolumeClaimSpec, path *field.Path) field.ErrorList {
	errs := validateAccessModes(s.AccessModes, "at least 1 access mode is required", path.Child("accessModes"))
	if s.Selector != nil {
		errs = append(errs, validateSelector(s.Selector, path.Child("selector"))...)
	}
	storage := path.Child("resources").Key(string(corev1.ResourceStorage))
	if q, ok := s.Resources.Requests[corev1.ResourceStorage]; ok {
		errs = append(errs, validatePositive(q, storage)...)
	} else {
		errs = append(errs, field.Required(storage, ""))
	}
	if name := valueOf(s.StorageClassName); name != "" {
		errs = append(errs, validateClassName(name, path.Child("storageClassName"))...)
	}
	errs = append(errs, validateVolumeMode(s.VolumeMode, path.Child("volumeMode"))...)
	errs = append(errs, validateDataSources(s, path)...)
	if name := valueOf(s.VolumeAttributesClassName); name != "" {
		errs = append(errs, validateClassName(name, path.Child("volumeAttributesClassName"))...)
	}
	return errs
}

// validateClaimTemplate checks a claim-to-be of a pod; of metadata it has labels and annotations only.
func validateClaimTemplate(t *corev1.PersistentVolumeClaimTemplate, path *field.Path) field.ErrorList {
	if t == nil {
		return field.ErrorList{field.Required(path, "")}
	}
	meta := path.Child("metadata")
	errs := metavalidation.ValidateLabels(t.Labels, meta.Child("labels"))
	errs = append(errs, validation.ValidateAnnotations(t.Annotations, meta.Child("annotations"))...)
	rest := t.ObjectMeta
	rest.Labels, rest.Annotations = nil, nil
	for _, name := range setFields(&rest) {
		errs = append(errs, field.Forbidden(meta.Child(name), "cannot be set"))
	}
	return append(errs, validatePersistentVolumeClaimSpec(&t.Spec, path.Child("spec"))...)
}

// validateDataSources checks both fields that say where a volume's data comes from, and that they say the same.
func validateDataSources(s *corev1.PersistentVolumeClaimSpec, path *field.Path) (errs field.ErrorList) {
	d, r := s.DataSource, s.DataSourceRef
	if d != nil {
		errs = append(errs, validateDataSource(d.APIGroup, d.Kind, d.Name, path.Child("dataSource"))...)
	}
	if r == nil {
		return errs
	}
	at := path.Child("dataSourceRef")
	errs = append(errs, validateDataSource(r.APIGroup, r.Kind, r.Name, at)...)
	namespace := valueOf(r.Namespace)
	if namespace != "" {
		errs = append(errs, faults(at.Child("namespace"), namespace, validation.ValidateNamespaceName(namespace, false))...)
	}
	switch {
	case d == nil:
	case namespace != "":
		errs = append(errs, field.Invalid(path, path.Child("dataSource").String(), "may not be specified when dataSourceRef.namespace is specified"))
	case d.Kind != r.Kind || d.Name != r.Name || valueOf(d.APIGroup) != valueOf(r.APIGroup):
		errs = append(errs, field.Invalid(path, path.Child("dataSource").String(), "must match dataSourceRef"))
	}
	return errs
}

func validateDataSource(apiGroup *string, kind, name string, path *field.Path) field.ErrorList {
	errs := append(required(name, path.Child("name")), required(kind, path.Child("kind"))...)
	group := valueOf(apiGroup)
	if group != "" {
		return append(errs, faults(path.Child("apiGroup"), group, utilvalidation.IsDNS1123Subdomain(group))...)
	}
	if kind != claimKind {
		errs = append(errs, field.Invalid(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup"))
	}
	return errs
}

// validatePersistentVolumeClaimUpdate: a claim stays what it was when quota and limits were applied to it. It carries what may change
// over to a copy of the old spec; whatever still differs from the new one may not.
func validatePersistentVolumeClaimUpdate(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	errs := validatePersistentVolumeClaim(c)
	s, o, spec := &c.Spec, &old.Spec, field.NewPath("spec")
	allowed := o.DeepCopy()
	if o.VolumeName == "" {
		allowed.VolumeName = s.VolumeName
	}
	if mayGainClass(c, old) {
		allowed.StorageClassName = s.StorageClassName
	}
	if !movedToField(c, old) {
		errs = append(errs, sameClassAnnotation(c, old)...)
	}
	request, before := s.Resources.Requests[corev1.ResourceStorage], o.Resources.Requests[corev1.ResourceStorage]
	if c.Status.Phase == corev1.ClaimBound {
		if s.Resources.Requests != nil && allowed.Resources.Requests != nil {
			allowed.Resources.Requests[corev1.ResourceStorage] = request
		}
		allowed.VolumeAttributesClassName = s.VolumeAttributesClassName
	}
	if !equality.Semantic.DeepEqual(*allowed, *s) {
		errs = append(errs, field.Forbidden(spec, fmt.Sprintf(
			"spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n%v", diff.Diff(*allowed, *s))))
	}
	if capacity := old.Status.Capacity[corev1.ResourceStorage]; request.Cmp(before) < 0 && request.Cmp(capacity) <= 0 {
		errs = append(errs, field.Forbidden(spec.Child("resources", "requests", "storage"), "field can not be less than status.capacity"))
	}
	errs = append(errs, validation.ValidateImmutableField(s.VolumeMode, o.VolumeMode, field.NewPath("volumeMode"))...)
	return append(errs, keepsAttributes(s.VolumeAttributesClassName, old, spec.Child("volumeAttributesClassName"))...)
}

// movedToField: the claim's class has moved from the annotation that once named it into its field.
func movedToField(c, old *corev1.PersistentVolumeClaim) bool {
	was, ok := old.Annotations[corev1.BetaStorageClassAnnotation]
	return ok && old.Spec.StorageClassName == nil && c.Spec.StorageClassName != nil && *c.Spec.StorageClassName == was
}

// mayGainClass: a claim without a class is given the default one as soon as there is one.
func mayGainClass(c, old *corev1.PersistentVolumeClaim) bool {
	_, annotated := old.Annotations[corev1.BetaStorageClassAnnotation]
	return movedToField(c, old) || !annotated && old.Spec.StorageClassName == nil && c.Spec.StorageClassName != nil
}

func sameClassAnnotation(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	return validation.ValidateImmutableField(c.Annotations[corev1.BetaStorageClassAnnotation],
		old.Annotations[corev1.BetaStorageClassAnnotation], field.NewPath("metadata", "annotations", corev1.BetaStorageClassAnnotation))
}

// keepsAttributes: once a class of attributes has been applied, the volume has one for ever; it can only be another.
func keepsAttributes(class *string, old *corev1.PersistentVolumeClaim, path *field.Path) field.ErrorList {
	if old.Status.CurrentVolumeAttributesClassName == nil || equality.Semantic.DeepEqual(class, old.Spec.VolumeAttributesClassName) {
		return nil
	}
	switch {
	case class == nil:
		return field.ErrorList{field.Forbidden(path, "update from non-nil value to nil is forbidden")}
	case *class == "":
		return field.ErrorList{field.Forbidden(path, "update from non-empty value to empty string is forbidden")}
	}
	return nil
}

func validatePersistentVolumeClaimStatus(c, _ *corev1.PersistentVolumeClaim) (errs field.ErrorList) {
	s, status := &c.Status, field.NewPath("status")
	if len(c.Spec.AccessModes) == 0 {
		errs = append(errs, field.Required(field.NewPath("spec", "accessModes"), ""))
	}
	for _, name := range sortedKeys(s.Capacity) {
		errs = append(errs, validateBytes(s.Capacity[name], status.Child("capacity").Key(string(name)))...)
	}
	statuses := status.Child("allocatedResourceStatus")
	for _, name := range sortedKeys(s.AllocatedResourceStatuses) {
		errs = append(errs, validateClaimResource(name, statuses)...)
		errs = append(errs, oneOf(s.AllocatedResourceStatuses[name], statuses,
			corev1.PersistentVolumeClaimControllerResizeInProgress, corev1.PersistentVolumeClaimControllerResizeInfeasible,
			corev1.PersistentVolumeClaimNodeResizePending, corev1.PersistentVolumeClaimNodeResizeInProgress,
			corev1.PersistentVolumeClaimNodeResizeInfeasible)...)
	}
	allocated := status.Child("allocatedResources")
	for _, name := range sortedKeys(s.AllocatedResources) {
		errs = append(errs, validateClaimResource(name, allocated)...)
		errs = append(errs, validateBytes(s.AllocatedResources[name], allocated.Key(string(name)))...)
	}
	return errs
}

// validateClaimResource: a claim has storage, and what drivers with a domain of their own count.
func validateClaimResource(name corev1.ResourceName, path *field.Path) field.ErrorList {
	if errs := validateResourceName(name, path); len(errs) > 0 {
		return errs
	}
	domain, _, qualified := strings.Cut(string(name), "/")
	if name == corev1.ResourceStorage || qualified && domain != "kubernetes.io" && !strings.HasSuffix(domain, ".kubernetes.io") {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, name, []corev1.ResourceName{corev1.ResourceStorage})}
}
