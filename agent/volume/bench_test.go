package volume

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// BenchmarkSetUp is what one volume costs a pod from its beginning to its end: in memory, and on the disk.
func BenchmarkSetUp(b *testing.B) {
	src := source{maps: map[string]map[string]string{"o": {"k": "v"}}, secrets: map[string]map[string][]byte{"o": {"k": []byte("v")}}}
	for name, v := range map[string]corev1.VolumeSource{
		"memory": {Secret: &corev1.SecretVolumeSource{SecretName: "o"}},
		"disk":   {ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "o"}}},
	} {
		b.Run(name, func(b *testing.B) {
			s, pod := &Store{Root: b.TempDir(), Source: src}, podWith(v)
			for b.Loop() {
				if err := s.Prepare(b.Context(), pod); err != nil {
					b.Fatal(err)
				}
				if err := s.Remove("u"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
