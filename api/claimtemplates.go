package api

import (
	corev1 "k8s.io/api/core/v1"
)

// nameClaimTemplate makes a template of a claim say what it is. Merging patches need it, Kubernetes always shows it, and protobuf does
// not carry it.
func nameClaimTemplate(c *corev1.PersistentVolumeClaim) {
	c.APIVersion, c.Kind = "v1", "PersistentVolumeClaim"
}

func defaultClaimTemplate(c *corev1.PersistentVolumeClaim) {
	nameClaimTemplate(c)
	defaultPersistentVolumeClaimSpec(&c.Spec)
	fill(&c.Status.Phase, corev1.ClaimPending)
}

// volumesWithClaims are the volumes that a pod of a stateful set will have: those of its template, and one for each claim, which takes
// the place of a volume of the same name.
func volumesWithClaims(volumes []corev1.Volume, claims []corev1.PersistentVolumeClaim) []corev1.Volume {
	byName := map[string]int{}
	out := append([]corev1.Volume(nil), volumes...)
	for i := range out {
		byName[out[i].Name] = i
	}
	for i := range claims {
		v := corev1.Volume{Name: claims[i].Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claims[i].Name},
		}}
		if at, ok := byName[v.Name]; ok {
			out[at] = v
			continue
		}
		byName[v.Name] = len(out)
		out = append(out, v)
	}
	return out
}
