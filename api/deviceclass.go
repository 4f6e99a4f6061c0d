package api

import (
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func init() {
	Register(&Kind{
		GroupVersion: resourcev1.SchemeGroupVersion,
		Name:         "DeviceClass", Resource: "deviceclasses", Singular: "deviceclass",
		NotActedOn:     noDevices,
		ClusterScoped:  true,
		New:            func() runtime.Object { return &resourcev1.DeviceClass{} },
		NewList:        func() runtime.Object { return &resourcev1.DeviceClassList{} },
		Validate:       check(func(c *resourcev1.DeviceClass) field.ErrorList { return validateDeviceClass(&c.Spec, nil) }),
		ValidateUpdate: checkOld(func(c, old *resourcev1.DeviceClass) field.ErrorList { return validateDeviceClass(&c.Spec, &old.Spec) }),
		Columns:        []metav1.TableColumnDefinition{nameColumn, ageColumn},
		Row: row(func(c *resourcev1.DeviceClass, now time.Time) []any {
			return []any{c.Name, age(c.CreationTimestamp, now)}
		}),
		HasGeneration: true,
	})
}

// validateDeviceClass treats expressions as accepted before if none of them changed; old is nil on create.
func validateDeviceClass(s, old *resourcev1.DeviceClassSpec) field.ErrorList {
	spec := field.NewPath("spec")
	stored := old != nil && equality.Semantic.DeepEqual(s.Selectors, old.Selectors)
	errs := declared(resourcev1.Validate_DeviceClassSpec, spec, s, old)
	errs = append(errs, validateDeviceSelectors(s.Selectors, spec.Child("selectors"), stored)...)
	for i := range s.Config {
		errs = append(errs, validateDeviceConfig(&s.Config[i].DeviceConfiguration, spec.Child("config").Index(i))...)
	}
	return errs
}
