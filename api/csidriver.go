package api

import (
	"strings"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: storagev1.SchemeGroupVersion,
		Name:         "CSIDriver", Resource: "csidrivers", Singular: "csidriver",
		NotActedOn:        noCSI,
		ClusterScoped:     true,
		ConditionalUpdate: true,
		New:               func() runtime.Object { return &storagev1.CSIDriver{} },
		NewList:           func() runtime.Object { return &storagev1.CSIDriverList{} },
		Default:           with(defaultCSIDriver),
		PrepareForUpdate:  withOld(prepareCSIDriverUpdate),
		Validate:          check(validateCSIDriver),
		ValidateUpdate:    checkOld(validateCSIDriverUpdate),
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			boolColumn("AttachRequired", "Whether volumes must be attached before they are mounted."),
			boolColumn("PodInfoOnMount", "Whether the driver is told of the pod that it mounts for."),
			boolColumn("StorageCapacity", "Whether pods are scheduled by the capacity that the driver reports."),
			textColumn("TokenRequests", "The audiences of the tokens that the driver asks for."),
			boolColumn("RequiresRepublish", "Whether volumes are published again from time to time."),
			textColumn("Modes", "What kinds of volumes the driver has."),
			ageColumn,
		},
		Row: row(csiDriverRow),
	})
}

func defaultCSIDriver(d *storagev1.CSIDriver) {
	s := &d.Spec
	fillPtr(&s.AttachRequired, true)
	fillPtr(&s.PodInfoOnMount, false)
	fillPtr(&s.StorageCapacity, false)
	fillPtr(&s.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	if len(s.VolumeLifecycleModes) == 0 {
		s.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
	}
	fillPtr(&s.RequiresRepublish, false)
	fillPtr(&s.SELinuxMount, false)
	fillPtr(&s.PreventPodSchedulingIfMissing, false)
}

// prepareCSIDriverUpdate counts changes, but not from one: a driver that never changed has no generation.
func prepareCSIDriverUpdate(d, old *storagev1.CSIDriver) {
	if !equality.Semantic.DeepEqual(d.Spec, old.Spec) {
		d.Generation = old.Generation + 1
	}
}

func csiDriverRow(d *storagev1.CSIDriver, now time.Time) []any {
	s := &d.Spec
	tokens := cellUnset
	if s.TokenRequests != nil {
		var audiences []string
		for _, t := range s.TokenRequests {
			audiences = append(audiences, t.Audience)
		}
		tokens = strings.Join(audiences, ",")
	}
	var modes []string
	for _, m := range s.VolumeLifecycleModes {
		modes = append(modes, string(m))
	}
	return []any{
		d.Name, s.AttachRequired == nil || *s.AttachRequired, isTrue(s.PodInfoOnMount),
		isTrue(s.StorageCapacity), tokens, isTrue(s.RequiresRepublish),
		orNone(strings.Join(modes, ",")), age(d.CreationTimestamp, now),
	}
}

func validateCSIDriver(d *storagev1.CSIDriver) field.ErrorList {
	s, spec := &d.Spec, field.NewPath("spec")
	errs := validateCSIDriverName(d.Name, field.NewPath("name"))
	// The defaults fill these in; the first is misspelt in Kubernetes' own answers.
	for _, f := range []struct {
		name string
		of   *bool
	}{
		{"attachedRequired", s.AttachRequired}, {"podInfoOnMount", s.PodInfoOnMount},
		{"storageCapacity", s.StorageCapacity}, {"seLinuxMount", s.SELinuxMount},
	} {
		if f.of == nil {
			errs = append(errs, field.Required(spec.Child(f.name), ""))
		}
	}
	errs = append(errs, requiredOneOf(valueOf(s.FSGroupPolicy), spec.Child("fsGroupPolicy"),
		storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)...)
	errs = append(errs, validateTokenRequests(s, spec)...)
	for _, m := range s.VolumeLifecycleModes {
		errs = append(errs, oneOf(m, spec.Child("volumeLifecycleModes"), storagev1.VolumeLifecycleEphemeral, storagev1.VolumeLifecyclePersistent)...)
	}
	if n := s.NodeAllocatableUpdatePeriodSeconds; n != nil && *n < allocatableUpdateSecondsMin {
		errs = append(errs, field.Invalid(spec.Child("nodeAllocatableUpdatePeriodSeconds"), *n, "must be greater than or equal to 10 seconds"))
	}
	return errs
}

// validateTokenRequests: the driver finds a token by its audience, so there is one for each.
func validateTokenRequests(s *storagev1.CSIDriverSpec, spec *field.Path) (errs field.ErrorList) {
	audiences := sets.New[string]()
	for i, t := range s.TokenRequests {
		at := spec.Child("tokenRequests").Index(i)
		if audiences.Has(t.Audience) {
			errs = append(errs, field.Duplicate(at.Child("audience"), t.Audience))
			continue
		}
		audiences.Insert(t.Audience)
		if t.ExpirationSeconds != nil {
			errs = append(errs, validateTokenSeconds(*t.ExpirationSeconds, at.Child("expirationSeconds"))...)
		}
	}
	if s.ServiceAccountTokenInSecrets != nil && len(s.TokenRequests) == 0 {
		errs = append(errs, field.Invalid(spec.Child("serviceAccountTokenInSecrets"), *s.ServiceAccountTokenInSecrets,
			"must have at least one token request when serviceAccountTokenInSecrets is specified"))
	}
	return errs
}

func validateCSIDriverUpdate(d, old *storagev1.CSIDriver) field.ErrorList {
	errs := validateCSIDriver(d)
	s, o, spec := &d.Spec, &old.Spec, field.NewPath("spec")
	errs = append(errs, validation.ValidateImmutableField(s.AttachRequired, o.AttachRequired, spec.Child("attachedRequired"))...)
	return append(errs, validation.ValidateImmutableField(s.VolumeLifecycleModes, o.VolumeLifecycleModes, spec.Child("volumeLifecycleModes"))...)
}
