package volume

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Field is a pod's own field as text, by its path in the downward API.
func Field(pod *corev1.Pod, path string) (string, error) {
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return lines(pod.Labels), nil
	case "metadata.annotations":
		return lines(pod.Annotations), nil
	}
	for prefix, m := range map[string]map[string]string{"metadata.labels['": pod.Labels, "metadata.annotations['": pod.Annotations} {
		if key, ok := strings.CutPrefix(path, prefix); ok {
			if key, ok := strings.CutSuffix(key, "']"); ok {
				return m[key], nil
			}
		}
	}
	return "", fmt.Errorf("unsupported fieldPath: %v", path)
}

// lines writes a map as key="value" lines in the order of the keys.
func lines(m map[string]string) string {
	var b strings.Builder
	for i, k := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(k + "=" + strconv.Quote(m[k]))
	}
	return b.String()
}

// Resource is a container's request or limit as text, rounded up to the divisor. A limit that is not set
// is the node's allocatable.
func Resource(c *corev1.Container, sel *corev1.ResourceFieldSelector, allocatable corev1.ResourceList) (string, error) {
	list, name, ok := c.Resources.Limits, "", false
	isLimit := true
	if name, ok = strings.CutPrefix(sel.Resource, "limits."); !ok {
		if name, ok = strings.CutPrefix(sel.Resource, "requests."); !ok {
			return "", fmt.Errorf("unsupported container resource: %v", sel.Resource)
		}
		list, isLimit = c.Resources.Requests, false
	}
	q, set := list[corev1.ResourceName(name)]
	if !set && isLimit {
		q = allocatable[corev1.ResourceName(name)]
	}
	if !set && !isLimit {
		q = c.Resources.Limits[corev1.ResourceName(name)]
	}
	divisor := sel.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	if name == string(corev1.ResourceCPU) {
		return strconv.FormatInt(ceilDiv(q.MilliValue(), divisor.MilliValue()), 10), nil
	}
	return strconv.FormatInt(ceilDiv(q.Value(), divisor.Value()), 10), nil
}

func ceilDiv(a, b int64) int64 {
	if b <= 0 {
		return a
	}
	return (a + b - 1) / b
}
