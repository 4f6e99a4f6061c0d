package api

import (
	"fmt"
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
		Name:         "PersistentVolumeClaim", Resource: "persistentvolumeclaims", Singular: "persistentvolumeclaim", ShortNames: []string{"pvc"},
		New:              func() runtime.Object { return &corev1.PersistentVolumeClaim{} },
		NewList:          func() runtime.Object { return &corev1.PersistentVolumeClaimList{} },
		Default:          with(defaultPersistentVolumeClaim),
		PrepareForCreate: with(preparePersistentVolumeClaim),
		PrepareForUpdate: withOld(func(c, old *corev1.PersistentVolumeClaim) { settleDataSource(&c.Spec, &old.Spec) }),
		PrepareForStatusUpdate: withOld(func(c, old *corev1.PersistentVolumeClaim) {
			if old.Status.HealthStatus == nil {
				c.Status.HealthStatus = nil // alpha: CSIVolumeHealth
			}
		}),
		Validate:             check(validatePersistentVolumeClaim),
		ValidateUpdate:       checkOld(validatePersistentVolumeClaimUpdate),
		ValidateStatusUpdate: checkOld(validatePersistentVolumeClaimStatus),
		Warnings: warnings(func(c *corev1.PersistentVolumeClaim, _ bool) []string {
			return append(classAnnotationWarnings(c.Annotations), claimWarnings(&c.Spec, field.NewPath("spec"))...)
		}),
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			textColumn("Status", "Whether the claim is bound to a volume."),
			textColumn("Volume", "The volume that the claim is bound to."),
			textColumn("Capacity", "How much the bound volume holds."),
			textColumn("Access Modes", "How the bound volume can be mounted."),
			textColumn("StorageClass", "The class of storage that is claimed."),
			textColumn("VolumeAttributesClass", "The class of attributes that is claimed."),
			ageColumn,
			wide(textColumn("VolumeMode", "Whether a file system or a raw device is claimed.")),
		},
		Row:       row(persistentVolumeClaimRow),
		HasStatus: true,
	})
}

func defaultPersistentVolumeClaim(c *corev1.PersistentVolumeClaim) {
	fill(&c.Status.Phase, corev1.ClaimPending)
	defaultPersistentVolumeClaimSpec(&c.Spec)
	roundUp(c.Status.Capacity)
	roundUp(c.Status.AllocatedResources)
}

// defaultPersistentVolumeClaimSpec fills in a claim, also inside the templates of other kinds.
func defaultPersistentVolumeClaimSpec(s *corev1.PersistentVolumeClaimSpec) {
	fillPtr(&s.VolumeMode, corev1.PersistentVolumeFilesystem)
	roundUp(s.Resources.Limits)
	roundUp(s.Resources.Requests)
}

func preparePersistentVolumeClaim(c *corev1.PersistentVolumeClaim) {
	c.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
	settleDataSource(&c.Spec, nil)
}

// settleDataSource keeps the two fields that name where a volume's data comes from alike. The old one, dataSource, has never refused
// what it does not know but dropped it, and still does; old is nil for a new claim, and what is in use stays.
func settleDataSource(s, old *corev1.PersistentVolumeClaimSpec) {
	if r := s.DataSourceRef; r != nil && r.Namespace != nil && (old == nil || old.DataSourceRef == nil || old.DataSourceRef.Namespace == nil) {
		s.DataSourceRef = nil // alpha: CrossNamespaceVolumeDataSource
	}
	if (old == nil || old.DataSource == nil) && !knownDataSource(s.DataSource) {
		s.DataSource = nil
	}
	switch r, d := s.DataSourceRef, s.DataSource; {
	case r == nil && d != nil:
		s.DataSourceRef = &corev1.TypedObjectReference{APIGroup: clone(d.APIGroup), Kind: d.Kind, Name: d.Name}
	case d == nil && r != nil && valueOf(r.Namespace) == "":
		s.DataSource = &corev1.TypedLocalObjectReference{APIGroup: clone(r.APIGroup), Kind: r.Kind, Name: r.Name}
	}
}

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// volumeSnapshotGroup is the group of the custom resources that snapshots of volumes are.
const volumeSnapshotGroup = "snapshot.storage.k8s.io"

func knownDataSource(d *corev1.TypedLocalObjectReference) bool {
	if d == nil {
		return true
	}
	group := valueOf(d.APIGroup)
	return group == "" && d.Kind == claimKind || group == volumeSnapshotGroup && d.Kind == "VolumeSnapshot"
}

func persistentVolumeClaimRow(c *corev1.PersistentVolumeClaim, now time.Time) []any {
	phase := string(c.Status.Phase)
	if c.DeletionTimestamp != nil {
		phase = cellTerminating
	}
	capacity, modes := "", ""
	if c.Spec.VolumeName != "" {
		q := c.Status.Capacity[corev1.ResourceStorage]
		capacity, modes = q.String(), accessModesText(c.Status.AccessModes)
	}
	return []any{
		c.Name, phase, c.Spec.VolumeName, capacity, modes, volume.GetPersistentVolumeClaimClass(c),
		orUnset(c.Spec.VolumeAttributesClassName), age(c.CreationTimestamp, now), orUnset(c.Spec.VolumeMode),
	}
}

// claimWarnings tells of storage in fractions of a byte, which comes from "m" where "M" was meant.
func claimWarnings(s *corev1.PersistentVolumeClaimSpec, path *field.Path) (out []string) {
	for _, list := range []struct {
		name string
		of   corev1.ResourceList
	}{{"requests", s.Resources.Requests}, {"limits", s.Resources.Limits}} {
		if q, ok := list.of[corev1.ResourceStorage]; ok && q.MilliValue()%1000 != 0 {
			out = append(out, fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer",
				path.Child("resources", list.name).Key(string(corev1.ResourceStorage)), q.String()))
		}
	}
	return out
}
