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

func validateEnv(env []corev1.EnvVar, path *field.Path) (errs field.ErrorList) {
	for i := range env {
		e, at := &env[i], path.Index(i)
		if e.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else {
			errs = append(errs, faults(at.Child("name"), e.Name, utilvalidation.IsRelaxedEnvVarName(e.Name))...)
		}
		if e.ValueFrom != nil {
			errs = append(errs, validateEnvSource(e, at.Child("valueFrom"))...)
		}
	}
	return errs
}

func validateEnvSource(e *corev1.EnvVar, path *field.Path) (errs field.ErrorList) {
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
		errs = append(errs, validateFileRef(r, path.Child("fileKeyRef"))...)
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

func validateFileRef(r *corev1.FileKeySelector, path *field.Path) (errs field.ErrorList) {
	if r.VolumeName == "" {
		errs = append(errs, field.Required(path.Child("volumeName"), ""))
	}
	if r.Path == "" {
		errs = append(errs, field.Required(path.Child("path"), ""))
	} else {
		errs = append(errs, validateDescending(r.Path, path.Child("path"))...)
	}
	if r.Key == "" {
		errs = append(errs, field.Required(path.Child("key"), ""))
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
	if !slices.Contains(containerResourcePaths, r.Resource) && !strings.HasPrefix(name, corev1.ResourceHugePagesPrefix) {
		return field.ErrorList{field.NotSupported(path.Child("resource"), r.Resource, containerResourcePaths)}
	}
	return validateDivisor(r, name, path.Child("divisor"))
}

var (
	cpuDivisors    = []string{"1", "1m"}
	memoryDivisors = []string{"1", "1E", "1Ei", "1G", "1Gi", "1K", "1Ki", "1M", "1Mi", "1P", "1Pi", "1T", "1Ti", "1k"}
)

func validateDivisor(r *corev1.ResourceFieldSelector, name string, path *field.Path) field.ErrorList {
	d := r.Divisor
	if d.IsZero() {
		return nil
	}
	switch {
	case name == "cpu" && !slices.Contains(cpuDivisors, d.String()):
		return field.ErrorList{field.Invalid(path, d.String(), "only divisor's values 1m and 1 are supported with the cpu resource")}
	case name != "cpu" && !slices.Contains(memoryDivisors, d.String()):
		return field.ErrorList{field.Invalid(path, d.String(), "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the "+name+" resource")}
	}
	return nil
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
