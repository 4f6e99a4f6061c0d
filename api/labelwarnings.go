package api

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// renamedLabel is a label of nodes under its new name, and the version that renamed it.
type renamedLabel struct{ name, since string }

// renamedLabels are the labels of nodes that have had another name, by their old one.
var renamedLabels = map[string]renamedLabel{
	"beta.kubernetes.io/arch":           {corev1.LabelArchStable, "v1.14"},
	"beta.kubernetes.io/os":             {corev1.LabelOSStable, "v1.14"},
	corev1.LabelFailureDomainBetaRegion: {corev1.LabelTopologyRegion, "v1.17"},
	corev1.LabelFailureDomainBetaZone:   {corev1.LabelTopologyZone, "v1.17"},
	corev1.LabelInstanceType:            {corev1.LabelInstanceTypeStable, "v1.17"},
}

// labelWarnings tells of a key that is a label's old name.
func labelWarnings(key string, path *field.Path) []string {
	r, ok := renamedLabels[key]
	if !ok {
		return nil
	}
	return []string{fmt.Sprintf("%s: %s is deprecated since %s; use %q instead", path, key, r.since, r.name)}
}

func nodeTermWarnings(t *corev1.NodeSelectorTerm, path *field.Path) (out []string) {
	for i, r := range t.MatchExpressions {
		out = append(out, labelWarnings(r.Key, path.Child("matchExpressions").Index(i).Child("key"))...)
	}
	return out
}
