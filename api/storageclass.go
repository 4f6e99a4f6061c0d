package api

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: storagev1.SchemeGroupVersion,
		Name:         "StorageClass", Resource: "storageclasses", Singular: "storageclass", ShortNames: []string{"sc"},
		ClusterScoped:  true,
		New:            func() runtime.Object { return &storagev1.StorageClass{} },
		NewList:        func() runtime.Object { return &storagev1.StorageClassList{} },
		Default:        with(defaultStorageClass),
		Validate:       check(validateStorageClass),
		ValidateUpdate: checkOld(validateStorageClassUpdate),
		Warnings:       warnings(func(c *storagev1.StorageClass, _ bool) []string { return storageClassWarnings(c) }),
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			textColumn("Provisioner", "What makes the volumes of the class."),
			textColumn("ReclaimPolicy", "What becomes of a volume of the class when its claim is gone."),
			textColumn("VolumeBindingMode", "When a claim of the class is bound."),
			boolColumn("AllowVolumeExpansion", "Whether volumes of the class may grow."),
			ageColumn,
		},
		Row: row(storageClassRow),
	})
}

func defaultStorageClass(c *storagev1.StorageClass) {
	fillPtr(&c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
	fillPtr(&c.VolumeBindingMode, storagev1.VolumeBindingImmediate)
}

// An annotation makes a class the one of claims that name none; it has an old spelling.
const (
	defaultClassAnnotation     = "storageclass.kubernetes.io/is-default-class"
	defaultClassBetaAnnotation = "storageclass.beta.kubernetes.io/is-default-class"
)

// IsDefaultStorageClass says whether claims that name no class are of this one.
func IsDefaultStorageClass(c *storagev1.StorageClass) bool {
	return c.Annotations[defaultClassAnnotation] == "true" || c.Annotations[defaultClassBetaAnnotation] == "true"
}

func storageClassRow(c *storagev1.StorageClass, now time.Time) []any {
	name := c.Name
	if IsDefaultStorageClass(c) {
		name += " (default)"
	}
	reclaim, binding := corev1.PersistentVolumeReclaimDelete, storagev1.VolumeBindingImmediate
	if c.ReclaimPolicy != nil {
		reclaim = *c.ReclaimPolicy
	}
	if c.VolumeBindingMode != nil {
		binding = *c.VolumeBindingMode
	}
	return []any{
		name, c.Provisioner, string(reclaim), string(binding), isTrue(c.AllowVolumeExpansion), age(c.CreationTimestamp, now),
	}
}

func storageClassWarnings(c *storagev1.StorageClass) (out []string) {
	for i, t := range c.AllowedTopologies {
		for j, r := range t.MatchLabelExpressions {
			out = append(out, labelWarnings(r.Key, field.NewPath("allowedTopologies").Index(i).Child("matchLabelExpressions").Index(j).Child("key"))...)
		}
	}
	return out
}

func validateStorageClass(c *storagev1.StorageClass) field.ErrorList {
	errs := validateProvisioner(c.Provisioner, field.NewPath("provisioner"))
	errs = append(errs, validateParameters(c.Parameters, field.NewPath("parameters"))...)
	if p := c.ReclaimPolicy; p != nil && *p != "" {
		errs = append(errs, oneOf(*p, field.NewPath("reclaimPolicy"), corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)...)
	}
	mode := field.NewPath("volumeBindingMode")
	if c.VolumeBindingMode == nil {
		errs = append(errs, field.Required(mode, ""))
	} else {
		errs = append(errs, oneOf(*c.VolumeBindingMode, mode, storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)...)
	}
	return append(errs, validateTopologies(c.AllowedTopologies, field.NewPath("allowedTopologies"))...)
}

// validateProvisioner: a provisioner or driver is named like a resource, in any case of letters.
func validateProvisioner(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, name)}
	}
	return faults(path, name, utilvalidation.IsQualifiedName(strings.ToLower(name)))
}

func validateParameters(parameters map[string]string, path *field.Path) (errs field.ErrorList) {
	if len(parameters) > classParametersMax {
		return field.ErrorList{field.TooLong(path, "", classParametersMax)}
	}
	size := 0
	for _, key := range sortedKeys(parameters) {
		if key == "" {
			errs = append(errs, field.Invalid(path, key, "field can not be empty."))
		}
		size += len(key) + len(parameters[key])
	}
	if size > classParameterBytesMax {
		errs = append(errs, field.TooLong(path, "", classParameterBytesMax))
	}
	return errs
}

// validateTopologies checks terms of which each is a set of labels with their values; no two terms may be equal.
func validateTopologies(terms []corev1.TopologySelectorTerm, path *field.Path) (errs field.ErrorList) {
	var seen []map[string]sets.Set[string]
	for i, t := range terms {
		labels, faulty := validateTopologyTerm(t.MatchLabelExpressions, path.Index(i).Child("matchLabelExpressions"))
		errs = append(errs, faulty...)
		for _, s := range seen {
			if equality.Semantic.DeepEqual(labels, s) {
				errs = append(errs, field.Duplicate(path.Index(i).Child("matchLabelExpressions"), ""))
			}
		}
		seen = append(seen, labels)
	}
	return errs
}

func validateTopologyTerm(list []corev1.TopologySelectorLabelRequirement, path *field.Path) (map[string]sets.Set[string], field.ErrorList) {
	labels, errs := map[string]sets.Set[string]{}, field.ErrorList(nil)
	for i, r := range list {
		at, values := path.Index(i), sets.New[string]()
		if len(r.Values) == 0 {
			errs = append(errs, field.Required(at.Child("values"), ""))
		}
		for j, v := range r.Values {
			if values.Has(v) {
				errs = append(errs, field.Duplicate(at.Child("values").Index(j), v))
			}
			values.Insert(v)
		}
		errs = append(errs, metavalidation.ValidateLabelName(r.Key, at.Child("key"))...)
		if _, twice := labels[r.Key]; twice {
			errs = append(errs, field.Duplicate(at.Child("key"), r.Key))
		}
		labels[r.Key] = values
	}
	return labels, errs
}

// validateStorageClassUpdate: a class is what it was when its volumes were made.
func validateStorageClassUpdate(c, old *storagev1.StorageClass) field.ErrorList {
	errs := validateStorageClass(c)
	errs = append(errs, declaredImmutable(c.Parameters, old.Parameters, field.NewPath("parameters"))...)
	errs = append(errs, declaredImmutable(c.Provisioner, old.Provisioner, field.NewPath("provisioner"))...)
	errs = append(errs, declaredImmutable(c.ReclaimPolicy, old.ReclaimPolicy, field.NewPath("reclaimPolicy"))...)
	return append(errs, declaredImmutable(c.VolumeBindingMode, old.VolumeBindingMode, field.NewPath("volumeBindingMode"))...)
}

// declaredImmutable serves the fields that the API reference itself marks as immutable (+k8s:immutable): what Kubernetes checks by
// such a mark, it reports without the value.
func declaredImmutable[T any](now, before T, path *field.Path) field.ErrorList {
	if equality.Semantic.DeepEqual(now, before) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, nil, validation.FieldImmutableErrorMsg)}
}
