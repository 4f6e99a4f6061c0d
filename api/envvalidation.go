package api

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// What a container may learn of its pod, by environment and by file.
var (
	envFieldPaths = []string{
		"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
	}
	fileFieldPaths = []string{
		"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid",
	}
	containerResourcePaths = []string{
		"limits.cpu", "limits.ephemeral-storage", "limits.memory",
		"requests.cpu", "requests.ephemeral-storage", "requests.memory",
	}
)

func validateEnv(env []corev1.EnvVar, volumes volumeNames, path *field.Path) (errs field.ErrorList) {
	for i := range env {
		e, at := &env[i], path.Index(i)
		if e.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else {
			errs = append(errs, faults(at.Child("name"), e.Name, utilvalidation.IsRelaxedEnvVarName(e.Name))...)
		}
		if e.ValueFrom != nil {
			errs = append(errs, validateEnvSource(e, volumes, at.Child("valueFrom"))...)
		}
	}
	return errs
}

func validateEnvSource(e *corev1.EnvVar, volumes volumeNames, path *field.Path) (errs field.ErrorList) {
	n := 0
	if r := e.ValueFrom.FieldRef; r != nil {
		n++
		errs = append(errs, validateFieldRef(r, envFieldPaths, path.Child("fieldRef"))...)
	}
	if r := e.ValueFrom.ResourceFieldRef; r != nil {
		n++
		errs = append(errs, validateResourceRef(r, false, path.Child("resourceFieldRef"))...)
	}
	if r := e.ValueFrom.ConfigMapKeyRef; r != nil {
		n++
		errs = append(errs, validateKeyRef(r.Name, r.Key, path.Child("configMapKeyRef"))...)
	}
	if r := e.ValueFrom.SecretKeyRef; r != nil {
		n++
		errs = append(errs, validateKeyRef(r.Name, r.Key, path.Child("secretKeyRef"))...)
	}
	if r := e.ValueFrom.FileKeyRef; r != nil {
		n++
		errs = append(errs, validateFileRef(r, volumes, path.Child("fileKeyRef"))...)
	}
	switch {
	case n == 0:
		errs = append(errs, field.Invalid(path, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"))
	case e.Value != "":
		errs = append(errs, field.Invalid(path, "", "may not be specified when `value` is not empty"))
	case n > 1:
		errs = append(errs, field.Invalid(path, "", "may not have more than one field specified at a time"))
	}
	return errs
}

// envFileKeyCharactersMax bounds the name of a variable in a file.
const envFileKeyCharactersMax = 128

// validateFileRef: the file is one that an init container has written into an empty directory.
func validateFileRef(r *corev1.FileKeySelector, volumes volumeNames, path *field.Path) (errs field.ErrorList) {
	name := path.Child("volumeName")
	if v, known := volumes[r.VolumeName]; r.VolumeName == "" {
		errs = append(errs, field.Required(name, ""))
	} else if !known {
		errs = append(errs, field.NotFound(name, r.VolumeName))
	} else if v.EmptyDir == nil {
		errs = append(errs, field.Invalid(name, r.VolumeName, "referenced volume must be of type emptyDir"))
	}
	errs = append(errs, validateFilePath(r.Path, path.Child("path"))...)
	key := path.Child("key")
	if r.Key == "" {
		return append(errs, field.Required(key, ""))
	}
	errs = append(errs, faults(key, r.Key, utilvalidation.IsRelaxedEnvVarName(r.Key))...)
	if len(r.Key) > envFileKeyCharactersMax {
		errs = append(errs, field.TooLong(key, r.Key, envFileKeyCharactersMax))
	}
	return errs
}

// validateFieldRef also knows the form metadata.labels['key'], which names one label or annotation.
func validateFieldRef(r *corev1.ObjectFieldSelector, allowed []string, path *field.Path) field.ErrorList {
	switch {
	case r.APIVersion == "":
		return field.ErrorList{field.Required(path.Child("apiVersion"), "")}
	case r.FieldPath == "":
		return field.ErrorList{field.Required(path.Child("fieldPath"), "")}
	case r.APIVersion != "v1":
		return field.ErrorList{field.Invalid(path.Child("fieldPath"), r.FieldPath, "error converting fieldPath: unsupported version "+r.APIVersion)}
	}
	at := path.Child("fieldPath")
	if base, rest, subscripted := strings.Cut(r.FieldPath, "['"); subscripted && strings.HasSuffix(rest, "']") {
		return validateSubscript(base, strings.TrimSuffix(rest, "']"), at)
	}
	if !knownFieldPath(r.FieldPath) {
		return field.ErrorList{field.Invalid(at, r.FieldPath, "error converting fieldPath: field label not supported: "+r.FieldPath)}
	}
	if !slices.Contains(allowed, r.FieldPath) {
		return field.ErrorList{field.NotSupported(at, r.FieldPath, allowed)}
	}
	return nil
}

func knownFieldPath(p string) bool {
	return slices.Contains(envFieldPaths, p) || slices.Contains(fileFieldPaths, p) ||
		slices.Contains([]string{"spec.restartPolicy", "spec.schedulerName", "status.phase"}, p)
}

func validateSubscript(base, key string, at *field.Path) field.ErrorList {
	switch base {
	case "metadata.annotations":
		return faults(at, key, utilvalidation.IsQualifiedName(strings.ToLower(key)))
	case "metadata.labels":
		return faults(at, key, utilvalidation.IsQualifiedName(key))
	}
	return field.ErrorList{field.Invalid(at, base, "does not support subscript")}
}

// validateResourceRef: a file must say whose resource it tells; an environment is its container's.
func validateResourceRef(r *corev1.ResourceFieldSelector, named bool, path *field.Path) field.ErrorList {
	if named && r.ContainerName == "" {
		return field.ErrorList{field.Required(path.Child("containerName"), "")}
	}
	if r.Resource == "" {
		return field.ErrorList{field.Required(path.Child("resource"), "")}
	}
	_, name, _ := strings.Cut(r.Resource, ".")
	if !slices.Contains(containerResourcePaths, r.Resource) && !hugePagePath(r.Resource) {
		return field.ErrorList{field.NotSupported(path.Child("resource"), r.Resource, containerResourcePaths)}
	}
	return validateDivisor(r, name, path.Child("divisor"))
}

func hugePagePath(p string) bool {
	return strings.HasPrefix(p, "limits."+corev1.ResourceHugePagesPrefix) || strings.HasPrefix(p, "requests."+corev1.ResourceHugePagesPrefix)
}

var (
	cpuDivisors    = []string{"1", "1m"}
	memoryDivisors = []string{"1", "1E", "1Ei", "1G", "1Gi", "1K", "1Ki", "1M", "1Mi", "1P", "1Pi", "1T", "1Ti", "1k"}
)

// validateDivisor: a resource is told in units of a power of its own kind. The fault shows the resource, not the divisor.
func validateDivisor(r *corev1.ResourceFieldSelector, name string, path *field.Path) field.ErrorList {
	d := r.Divisor
	if d.IsZero() {
		return nil
	}
	if name == string(corev1.ResourceCPU) {
		if slices.Contains(cpuDivisors, d.String()) {
			return nil
		}
		return field.ErrorList{field.Invalid(path, r.Resource, "only divisor's values 1m and 1 are supported with the cpu resource")}
	}
	if slices.Contains(memoryDivisors, d.String()) {
		return nil
	}
	switch {
	case name == string(corev1.ResourceEphemeralStorage):
		name = "local ephemeral storage"
	case strings.HasPrefix(name, corev1.ResourceHugePagesPrefix):
		name = "hugepages"
	}
	return field.ErrorList{field.Invalid(path, r.Resource,
		"only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the "+name+" resource")}
}

func validateKeyRef(name, key string, path *field.Path) (errs field.ErrorList) {
	if name == "" {
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	if key == "" {
		return append(errs, field.Required(path.Child("key"), ""))
	}
	return append(errs, faults(path.Child("key"), key, utilvalidation.IsConfigMapKey(key))...)
}

func validateEnvFrom(list []corev1.EnvFromSource, path *field.Path) (errs field.ErrorList) {
	for i := range list {
		e, at := &list[i], path.Index(i)
		if e.Prefix != "" {
			errs = append(errs, faults(at.Child("prefix"), e.Prefix, utilvalidation.IsRelaxedEnvVarName(e.Prefix))...)
		}
		n := 0
		if e.ConfigMapRef != nil {
			n++
			errs = append(errs, requiredName(e.ConfigMapRef.Name, at.Child("configMapRef", "name"))...)
		}
		if e.SecretRef != nil {
			n++
			errs = append(errs, requiredName(e.SecretRef.Name, at.Child("secretRef", "name"))...)
		}
		switch n {
		case 0:
			errs = append(errs, field.Invalid(at, "", "must specify one of: `configMapRef` or `secretRef`"))
		case 2:
			errs = append(errs, field.Invalid(at, "", "may not have more than one field specified at a time"))
		}
	}
	return errs
}

func requiredName(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return faults(path, name, utilvalidation.IsDNS1123Subdomain(name))
}
