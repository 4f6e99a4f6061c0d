package api

import (
	"time"
	"unicode/utf8"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: storagev1.SchemeGroupVersion,
		Name:         "VolumeAttachment", Resource: "volumeattachments", Singular: "volumeattachment",
		NotActedOn:           noCSI,
		ClusterScoped:        true,
		ConditionalUpdate:    true,
		New:                  func() runtime.Object { return &storagev1.VolumeAttachment{} },
		NewList:              func() runtime.Object { return &storagev1.VolumeAttachmentList{} },
		Default:              with(defaultVolumeAttachment),
		Validate:             check(validateVolumeAttachment),
		ValidateUpdate:       checkOld(validateVolumeAttachmentUpdate),
		ValidateStatusUpdate: checkOld(validateVolumeAttachmentUpdate),
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			textColumn("Attacher", "The driver that attaches the volume."),
			textColumn("PV", "The persistent volume to attach."),
			textColumn("Node", "The node to attach the volume to."),
			boolColumn("Attached", "Whether the volume is attached."),
			ageColumn,
		},
		Row: row(func(a *storagev1.VolumeAttachment, now time.Time) []any {
			return []any{
				a.Name, a.Spec.Attacher, valueOf(a.Spec.Source.PersistentVolumeName), a.Spec.NodeName,
				a.Status.Attached, age(a.CreationTimestamp, now),
			}
		}),
		HasStatus: true,
	})
}

func defaultVolumeAttachment(a *storagev1.VolumeAttachment) {
	if s := a.Spec.Source.InlineVolumeSpec; s != nil {
		roundUp(s.Capacity)
		defaultPersistentVolumeSource(&s.PersistentVolumeSource)
	}
}

func validateVolumeAttachment(a *storagev1.VolumeAttachment) field.ErrorList {
	spec, status := field.NewPath("spec"), field.NewPath("status")
	errs := validateAttacher(a.Spec.Attacher, spec.Child("attacher"))
	errs = append(errs, validateAttachmentSource(&a.Spec.Source, spec.Child("source"))...)
	errs = append(errs, faults(spec.Child("nodeName"), a.Spec.NodeName, validation.NameIsDNSSubdomain(a.Spec.NodeName, false))...)
	errs = append(errs, validateAttachmentMetadata(a.Status.AttachmentMetadata, status.Child("attachmentMetadata"))...)
	errs = append(errs, validateVolumeError(a.Status.AttachError, status.Child("attachError"))...)
	return append(errs, validateVolumeError(a.Status.DetachError, status.Child("detachError"))...)
}

// validateAttacher: an attacher is a driver, but its name is checked by the marks in the API reference, which have words of their own.
func validateAttacher(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	errs := faults(path, name, content.IsDNS1123SubdomainCaseless(name))
	if utf8.RuneCountInString(name) > csiDriverCharactersMax {
		errs = append(errs, field.TooLongCharacters(path, name, csiDriverCharactersMax))
	}
	return errs
}

func validateAttachmentSource(s *storagev1.VolumeAttachmentSource, path *field.Path) field.ErrorList {
	const one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
	name := path.Child("persistentVolumeName")
	switch {
	case s.InlineVolumeSpec == nil && s.PersistentVolumeName == nil:
		return field.ErrorList{field.Required(path, one)}
	case s.InlineVolumeSpec != nil && s.PersistentVolumeName != nil:
		return field.ErrorList{field.Forbidden(path, one)}
	case s.InlineVolumeSpec != nil:
		return validateInlineVolume(s.InlineVolumeSpec, path.Child("inlineVolumeSpec"))
	case *s.PersistentVolumeName == "":
		return field.ErrorList{field.Required(name, "must specify non empty persistentVolumeName")}
	}
	return faults(name, *s.PersistentVolumeName, validation.NameIsDNSSubdomain(*s.PersistentVolumeName, false))
}

func validateAttachmentMetadata(metadata map[string]string, path *field.Path) (errs field.ErrorList) {
	size := 0
	for key, value := range metadata {
		if key == "" {
			errs = append(errs, field.Required(path.Key(key), ""))
		}
		size += len(key) + len(value)
	}
	if size > attachmentMetadataBytesMax {
		errs = append(errs, field.TooLong(path, "", attachmentMetadataBytesMax))
	}
	return errs
}

func validateVolumeError(e *storagev1.VolumeError, path *field.Path) (errs field.ErrorList) {
	if e == nil {
		return nil
	}
	if len(e.Message) > volumeErrorBytesMax {
		errs = append(errs, field.TooLong(path.Child("message"), "", volumeErrorBytesMax))
	}
	if e.ErrorCode != nil {
		errs = append(errs, inRange(*e.ErrorCode, 0, grpcCodeMax, path.Child("errorCode"))...)
	}
	return errs
}

func validateVolumeAttachmentUpdate(a, old *storagev1.VolumeAttachment) field.ErrorList {
	return append(validateVolumeAttachment(a), declaredImmutable(a.Spec, old.Spec, field.NewPath("spec"))...)
}
