package api

import (
	"encoding/json"
	"fmt"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The functions below check what kinds of the group resource.k8s.io have in common. They leave out what declared checks.

// validatePoolName: a pool is one or more names, joined by slashes.
func validatePoolName(name string, path *field.Path) (errs field.ErrorList) {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	if len(name) > resourcev1.PoolNameMaxLength {
		errs = append(errs, field.TooLong(path, name, resourcev1.PoolNameMaxLength))
	}
	for _, part := range strings.Split(name, "/") {
		errs = append(errs, faults(path, part, utilvalidation.IsDNS1123Subdomain(part))...)
	}
	return errs
}

func validateDeviceLabel(name string, path *field.Path) field.ErrorList {
	return faults(path, name, utilvalidation.IsDNS1123Label(name))
}

func validateDeviceClassName(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return faults(path, name, utilvalidation.IsDNS1123Subdomain(name))
}

// validateQualifiedName checks a name such as "model" or "dra.example.com/model".
func validateQualifiedName(name resourcev1.QualifiedName, path *field.Path) field.ErrorList {
	domain, id, qualified := strings.Cut(string(name), "/")
	switch {
	case name == "":
		return field.ErrorList{field.Required(path, "name required")}
	case !qualified:
		return validateIdentifier(domain, path)
	case strings.Contains(id, "/"):
		return nil // Kubernetes looks at names of one or two parts only
	}
	var errs field.ErrorList
	if domain == "" {
		errs = append(errs, field.Required(path, "the domain must not be empty"))
	} else {
		errs = append(errs, validateCSIDriverName(domain, path)...)
	}
	if id == "" {
		return append(errs, field.Required(path, "the name must not be empty"))
	}
	return append(errs, validateIdentifier(id, path)...)
}

func validateIdentifier(id string, path *field.Path) field.ErrorList {
	errs := faults(path, id, utilvalidation.IsCIdentifier(id))
	if len(id) > resourcev1.DeviceMaxIDLength {
		errs = append(errs, field.TooLong(path, id, resourcev1.DeviceMaxIDLength))
	}
	return errs
}

// validateRawObject checks data that only a driver understands: it is a JSON object, and not too long.
func validateRawObject(raw runtime.RawExtension, path *field.Path, bytesMax int) field.ErrorList {
	if len(raw.Raw) == 0 {
		return field.ErrorList{field.Required(path, "")}
	}
	if len(raw.Raw) > bytesMax {
		return field.ErrorList{field.TooLong(path, "", bytesMax)}
	}
	const omitted = "<value omitted>"
	var v any
	if err := json.Unmarshal(raw.Raw, &v); err != nil {
		return field.ErrorList{field.Invalid(path, omitted, fmt.Sprintf("error parsing data as JSON: %v", err))}
	}
	switch v.(type) {
	case nil:
		return field.ErrorList{field.Required(path, "")}
	case map[string]any:
		return nil
	}
	return field.ErrorList{field.Invalid(path, omitted, "must be a valid JSON object")}
}

func validateDeviceConfig(c *resourcev1.DeviceConfiguration, path *field.Path) field.ErrorList {
	if c.Opaque == nil {
		return field.ErrorList{field.Required(path.Child("opaque"), "")}
	}
	return validateRawObject(c.Opaque.Parameters, path.Child("opaque", "parameters"), resourcev1.OpaqueParametersMaxLength)
}

func validateDeviceTolerations(list []resourcev1.DeviceToleration, path *field.Path) (errs field.ErrorList) {
	for i, t := range list {
		value := path.Index(i).Child("value")
		switch {
		case t.Operator == resourcev1.DeviceTolerationOpExists && t.Value != "":
			errs = append(errs, field.Invalid(value, t.Value, "must be empty for operator `Exists`"))
		case t.Operator == resourcev1.DeviceTolerationOpEqual:
			errs = append(errs, faults(value, t.Value, utilvalidation.IsValidLabelValue(t.Value))...)
		}
	}
	return append(errs, tooMany(len(list), resourcev1.DeviceTolerationsMaxLength, path)...)
}

func validateDeviceTaint(t *resourcev1.DeviceTaint, path *field.Path) field.ErrorList {
	errs := metavalidation.ValidateLabelName(t.Key, path.Child("key"))
	return append(errs, faults(path.Child("value"), t.Value, utilvalidation.IsValidLabelValue(t.Value))...)
}

// validateBindingConditions checks the conditions that a device's driver sets before a pod may be bound: those that let it, those that
// forbid it. Neither makes sense without the other.
func validateBindingConditions(conditions, failures []string, path *field.Path) (errs field.ErrorList) {
	good, bad := path.Child("bindingConditions"), path.Child("bindingFailureConditions")
	if len(conditions) == 0 && len(failures) > 0 {
		errs = append(errs, field.Invalid(good, conditions, "bindingConditions are required to use bindingFailureConditions"))
	}
	if len(failures) == 0 && len(conditions) > 0 {
		errs = append(errs, field.Invalid(bad, failures, "bindingFailureConditions are required to use bindingConditions"))
	}
	seen := sets.New[string]()
	for i, c := range conditions {
		errs = append(errs, metavalidation.ValidateLabelName(c, good.Index(i))...)
		errs = append(errs, distinctFrom(seen, c, good.Index(i))...)
	}
	required, seen := seen, sets.New[string]()
	for i, c := range failures {
		errs = append(errs, metavalidation.ValidateLabelName(c, bad.Index(i))...)
		errs = append(errs, distinctFrom(seen, c, bad.Index(i))...)
		if required.Has(c) {
			errs = append(errs, field.Invalid(bad.Index(i), c, "bindingFailureConditions must not overlap with bindingConditions"))
		}
	}
	return errs
}

// distinctFrom reports a value that was seen before, and remembers it.
func distinctFrom[T comparable](seen sets.Set[T], v T, path *field.Path) field.ErrorList {
	if seen.Has(v) {
		return field.ErrorList{field.Duplicate(path, v)}
	}
	seen.Insert(v)
	return nil
}

func tooMany(n, most int, path *field.Path) field.ErrorList {
	if n <= most {
		return nil
	}
	return field.ErrorList{field.TooMany(path, n, most)}
}
