package api

import (
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: resourcev1.SchemeGroupVersion,
		Name:         "ResourceSlice", Resource: "resourceslices", Singular: "resourceslice",
		NotActedOn:       noDevices,
		ClusterScoped:    true,
		New:              func() runtime.Object { return &resourcev1.ResourceSlice{} },
		NewList:          func() runtime.Object { return &resourcev1.ResourceSliceList{} },
		PrepareForCreate: with(prepareResourceSlice),
		PrepareForUpdate: withOld(func(s, _ *resourcev1.ResourceSlice) { prepareResourceSlice(s) }),
		Validate:         check(func(s *resourcev1.ResourceSlice) field.ErrorList { return validateResourceSlice(&s.Spec, nil) }),
		ValidateUpdate:   checkOld(validateResourceSliceUpdate),
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			textColumn("Node", "The one node that has the devices."),
			textColumn("Driver", "The driver of the devices."),
			textColumn("Pool", "The pool to which the devices belong."),
			ageColumn,
		},
		Row: row(func(s *resourcev1.ResourceSlice, now time.Time) []any {
			return []any{s.Name, valueOf(s.Spec.NodeName), s.Spec.Driver, s.Spec.Pool.Name, age(s.CreationTimestamp, now)}
		}),
		FieldLabels: []string{
			resourcev1.ResourceSliceSelectorNodeName, resourcev1.ResourceSliceSelectorDriver, resourcev1.ResourceSliceSelectorPoolName,
		},
		Fields: selectable(func(s *resourcev1.ResourceSlice) fields.Set {
			return fields.Set{
				resourcev1.ResourceSliceSelectorNodeName: valueOf(s.Spec.NodeName),
				resourcev1.ResourceSliceSelectorDriver:   s.Spec.Driver,
				resourcev1.ResourceSliceSelectorPoolName: s.Spec.Pool.Name,
			}
		}),
		HasGeneration: true,
	})
}

// prepareResourceSlice clears what Kubernetes has behind feature gates that are off by default, and says when new taints came.
func prepareResourceSlice(s *resourcev1.ResourceSlice) {
	s.Spec.PartitionTypeAttribute, s.Spec.SkipNodeOperations = nil, nil
	for i := range s.Spec.Devices {
		d := &s.Spec.Devices[i]
		d.NodeAllocatableResources = nil
		for name, a := range d.Attributes {
			a.IntValues, a.BoolValues, a.StringValues, a.VersionValues = nil, nil, nil, nil
			d.Attributes[name] = a
		}
		for j := range d.ConsumesCounters {
			d.ConsumesCounters[j].CompatibilityGroups = nil
		}
		for j := range d.Taints {
			stampTaint(&d.Taints[j])
		}
	}
}

// stampTaint says that a taint came now, unless it is known when. Whole seconds are what comes back from the wire.
func stampTaint(t *resourcev1.DeviceTaint) {
	fillPtr(&t.TimeAdded, metav1.NewTime(time.Now().Truncate(time.Second)))
}
