package api

import (
	"fmt"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// podOfMany is one of pods that have more or less in common.
func podOfMany(n int) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("p", n), UID: types.UID(fmt.Sprint("u", n)), Labels: map[string]string{"n": fmt.Sprint(n % 3)}}}
	p.Spec = corev1.PodSpec{
		NodeName:      fmt.Sprint("n", n%7),
		Containers:    []corev1.Container{{Name: "c", Image: fmt.Sprint("i", n%2), Env: []corev1.EnvVar{{Name: "A", Value: "b"}}}},
		RestartPolicy: corev1.RestartPolicyAlways,
		NodeSelector:  map[string]string{"zone": fmt.Sprint(n % 4)},
		Tolerations:   []corev1.Toleration{{Key: "k", Operator: corev1.TolerationOpExists}},
	}
	p.Status = corev1.PodStatus{Phase: corev1.PodPending, Message: fmt.Sprint(n % 5)}
	if n%11 == 0 {
		p.Spec.NodeName = ""
	}
	return p
}

func marshalled(t *testing.T, m interface{ Marshal() ([]byte, error) }) []byte {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sameAlone compares with what a pod's own Unmarshal makes of the same bytes, twice: the second time from what is remembered.
func sameAlone(t *testing.T, what string, b []byte) {
	t.Helper()
	alone := &corev1.Pod{}
	wantErr := alone.Unmarshal(b)
	for range 2 {
		got, err := DecodeSharedPod(b)
		if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(got, alone) {
			t.Fatalf("%s: shared it is\n%+v (%v), alone\n%+v (%v)", what, got, err, alone, wantErr)
		}
	}
}

// Pods that share what is remembered are the same as decoded alone, and so is what is damaged or written in another order. Invariant 209.
func TestSharedPodsAreTheSame(t *testing.T) {
	for n := range 100 {
		p := podOfMany(n)
		b := marshalled(t, p)
		if ok, err := decodePodParts(&corev1.Pod{}, b); !ok || err != nil {
			t.Fatalf("a pod as Marshal writes it is not cut: %v", err)
		}
		sameAlone(t, fmt.Sprint("pod ", n), b)
	}
	b := marshalled(t, podOfMany(5))
	for i := range b {
		damaged := append([]byte{}, b...)
		damaged[i] ^= 0x41
		sameAlone(t, fmt.Sprint("byte ", i), damaged)
		sameAlone(t, fmt.Sprint("the first bytes ", i), b[:i])
	}
	spec := marshalled(t, &podOfMany(5).Spec)
	again := appendString(spec, specNode, "another")
	sameAlone(t, "two nodes", appendBytes(appendBytes(appendBytes(nil, podMeta, nil), podSpec, again), podStatus, nil))
}

func BenchmarkDecodePod(b *testing.B) {
	p := podOfMany(5)
	p.Spec.Volumes = []corev1.Volume{{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
		{ConfigMap: &corev1.ConfigMapProjection{Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}}}}},
	}}}}}
	encoded, err := p.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("shared", func(b *testing.B) {
		for b.Loop() {
			if _, err := DecodeSharedPod(encoded); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("alone", func(b *testing.B) {
		for b.Loop() {
			if err := (&corev1.Pod{}).Unmarshal(encoded); err != nil {
				b.Fatal(err)
			}
		}
	})
}
