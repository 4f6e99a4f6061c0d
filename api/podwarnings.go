package api

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// nameWarning tells, once, that a name with dots makes a poor host name.
func nameWarning(name, use string, isNew bool) []string {
	msgs := utilvalidation.IsDNS1123Label(name)
	if !isNew || name == "" || len(msgs) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("metadata.name: %s, which can result in surprising behavior; a DNS label is recommended: %v", use, msgs)}
}

func templateWarnings(name string, t *corev1.PodTemplateSpec, isNew bool) []string {
	template := field.NewPath("spec", "template")
	out := append(nameWarning(name, "this is used in Pod names and hostnames", isNew), annotationWarnings(t.Annotations, template)...)
	return append(out, podWarnings(&t.Spec, template.Child("spec"))...)
}

// annotationWarnings tells of annotations that fields have taken the place of.
func annotationWarnings(annotations map[string]string, path *field.Path) (out []string) {
	for _, key := range sortedKeys(annotations) {
		at := path.Child("metadata", "annotations").Key(key)
		switch {
		case key == corev1.SeccompPodAnnotationKey, strings.HasPrefix(key, corev1.SeccompContainerAnnotationKeyPrefix):
			out = append(out, fmt.Sprintf(`%s: non-functional in v1.27+; use the "seccompProfile" field instead`, at))
		case strings.HasPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix):
			out = append(out, fmt.Sprintf(`%s: deprecated since v1.30; use the "appArmorProfile" field instead`, at))
		}
	}
	return out
}

// podWarnings tells of what is allowed and probably not meant.
func podWarnings(s *corev1.PodSpec, path *field.Path) (out []string) {
	for i, r := range s.ImagePullSecrets {
		if r.Name == "" {
			out = append(out, fmt.Sprintf("%s: invalid empty name %q", path.Child("imagePullSecrets").Index(i).Child("name"), ""))
		}
	}
	for i, a := range s.HostAliases {
		out = append(out, ipWarnings(path.Child("hostAliases").Index(i).Child("ip"), a.IP)...)
	}
	if s.DNSConfig != nil {
		for i, ip := range s.DNSConfig.Nameservers {
			out = append(out, ipWarnings(path.Child("dnsConfig", "nameservers").Index(i), ip)...)
		}
	}
	for i, v := range s.Volumes {
		if v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
			at := path.Child("volumes").Index(i).Child("ephemeral", "volumeClaimTemplate", "spec")
			out = append(out, claimWarnings(&v.Ephemeral.VolumeClaimTemplate.Spec, at)...)
		}
	}
	if n := s.TerminationGracePeriodSeconds; n != nil && *n < 0 {
		out = append(out, fmt.Sprintf("%s: must be >= 0; negative values are invalid and will be treated as 1", path.Child("terminationGracePeriodSeconds")))
	}
	for i := range s.InitContainers {
		out = append(out, containerWarnings(&s.InitContainers[i], path.Child("initContainers").Index(i))...)
	}
	for i := range s.Containers {
		out = append(out, containerWarnings(&s.Containers[i], path.Child("containers").Index(i))...)
	}
	return out
}

func containerWarnings(c *corev1.Container, path *field.Path) (out []string) {
	seen := map[string]bool{}
	for i, e := range c.Env {
		if seen[e.Name] {
			out = append(out, fmt.Sprintf("%s: hides previous definition of %q, which may be dropped when using apply", path.Child("env").Index(i), e.Name))
		}
		seen[e.Name] = true
	}
	type key struct {
		port, host int32
		ip         string
		protocol   corev1.Protocol
	}
	ports := map[key]int{}
	for i, p := range c.Ports {
		k := key{p.ContainerPort, p.HostPort, p.HostIP, p.Protocol}
		if first, twice := ports[k]; twice {
			out = append(out, fmt.Sprintf("%s: duplicate port definition with %s", path.Child("ports").Index(i), path.Child("ports").Index(first)))
			continue
		}
		ports[k] = i
	}
	for _, list := range []struct {
		name string
		of   corev1.ResourceList
	}{{"limits", c.Resources.Limits}, {"requests", c.Resources.Requests}} {
		for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
			if q, ok := list.of[name]; ok && q.MilliValue()%1000 != 0 {
				out = append(out, fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer", path.Child("resources", list.name).Key(string(name)), q.String()))
			}
		}
	}
	return out
}
