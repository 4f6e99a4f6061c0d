package nodeauth

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Names says whether a pod's spec refers to the ConfigMap, Secret or ServiceAccount.
func Names(spec *corev1.PodSpec, gr schema.GroupResource, name string) bool {
	if gr == configMaps && name == "kube-root-ca.crt" {
		return true
	}
	return names(spec, gr, func(n string) bool { return n == name })
}

// NamesAny says whether it refers to any object of the kind.
func NamesAny(spec *corev1.PodSpec, gr schema.GroupResource) bool {
	return names(spec, gr, func(n string) bool { return n != "" })
}

func names(spec *corev1.PodSpec, gr schema.GroupResource, is func(name string) bool) bool {
	switch gr {
	case configMaps:
		return namesConfigMap(spec, is)
	case secrets:
		return namesSecret(spec, is)
	case accounts:
		return is(spec.ServiceAccountName)
	}
	return false
}

func namesConfigMap(spec *corev1.PodSpec, is func(name string) bool) bool {
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		if v.ConfigMap != nil && is(v.ConfigMap.Name) {
			return true
		}
		for _, p := range Projections(v) {
			if p.ConfigMap != nil && is(p.ConfigMap.Name) {
				return true
			}
		}
	}
	return anyContainer(spec, func(c *corev1.Container) bool {
		for _, f := range c.EnvFrom {
			if f.ConfigMapRef != nil && is(f.ConfigMapRef.Name) {
				return true
			}
		}
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.ConfigMapKeyRef != nil && is(e.ValueFrom.ConfigMapKeyRef.Name) {
				return true
			}
		}
		return false
	})
}

func namesSecret(spec *corev1.PodSpec, is func(name string) bool) bool {
	for _, r := range spec.ImagePullSecrets {
		if is(r.Name) {
			return true
		}
	}
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		if v.Secret != nil && is(v.Secret.SecretName) {
			return true
		}
		for _, p := range Projections(v) {
			if p.Secret != nil && is(p.Secret.Name) {
				return true
			}
		}
	}
	return anyContainer(spec, func(c *corev1.Container) bool {
		for _, f := range c.EnvFrom {
			if f.SecretRef != nil && is(f.SecretRef.Name) {
				return true
			}
		}
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil && is(e.ValueFrom.SecretKeyRef.Name) {
				return true
			}
		}
		return false
	})
}

// Projections are the sources of a projected volume; none of any other.
func Projections(v *corev1.Volume) []corev1.VolumeProjection {
	if v.Projected == nil {
		return nil
	}
	return v.Projected.Sources
}

func anyContainer(spec *corev1.PodSpec, has func(*corev1.Container) bool) bool {
	for i := range spec.InitContainers {
		if has(&spec.InitContainers[i]) {
			return true
		}
	}
	for i := range spec.Containers {
		if has(&spec.Containers[i]) {
			return true
		}
	}
	for i := range spec.EphemeralContainers {
		c := corev1.Container(spec.EphemeralContainers[i].EphemeralContainerCommon)
		if has(&c) {
			return true
		}
	}
	return false
}
