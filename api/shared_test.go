package api

import (
	"reflect"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var sharedKinds = []schema.GroupResource{{Group: "apps", Resource: "deployments"}, {Group: "apps", Resource: "replicasets"}}

// TestSharedPartsAreTheSame: what is decoded from remembered parts is what Decode makes of the whole. Invariant 209.
func TestSharedPartsAreTheSame(t *testing.T) {
	for _, gr := range sharedKinds {
		for n := range 40 {
			b := encoded(t, manyVersions(gr, n))
			want, err := Decode(gr, b)
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := partsOf(b); !ok {
				t.Fatalf("%s: an object as Encode writes it is not cut", gr)
			}
			for range 2 { // the second time from what is remembered
				if got, err := DecodeShared(gr, b); err != nil || !reflect.DeepEqual(got, want) {
					t.Fatalf("%s: shared it is\n%+v (%v), alone\n%+v", gr, got, err, want)
				}
			}
		}
	}
}

// manyVersions are objects of which each differs from others in some of its parts.
func manyVersions(gr schema.GroupResource, n int) runtime.Object {
	m := metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "u", ResourceVersion: string(rune('a' + n)), Generation: int64(n / 8), Labels: map[string]string{"n": string(rune('a' + n%3))}}
	count := int32(n % 4)
	template := corev1.PodTemplateSpec{Spec: corev1.PodSpec{NodeSelector: map[string]string{"zone": string(rune('a' + n%2))}}}
	if n%5 == 0 {
		m.Annotations, m.ResourceVersion = map[string]string{}, ""
	}
	if gr.Resource == "deployments" {
		return &appsv1.Deployment{ObjectMeta: m, Spec: appsv1.DeploymentSpec{Replicas: &count, Template: template}, Status: appsv1.DeploymentStatus{Replicas: int32(n)}}
	}
	return &appsv1.ReplicaSet{ObjectMeta: m, Spec: appsv1.ReplicaSetSpec{Replicas: &count, Template: template}, Status: appsv1.ReplicaSetStatus{Replicas: int32(n)}}
}

func encoded(t *testing.T, o runtime.Object) []byte {
	t.Helper()
	b, err := Encode(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDamagedPartsAreNotRemembered: damage is found each time, as Decode finds it, and what is written in another order is read whole. Invariant 209.
func TestDamagedPartsAreNotRemembered(t *testing.T) {
	for _, gr := range sharedKinds {
		b := encoded(t, manyVersions(gr, 7))
		for i := range b {
			damaged := append([]byte{}, b...)
			damaged[i] ^= 0x41
			want, wantErr := Decode(gr, damaged)
			for range 2 {
				got, err := DecodeShared(gr, damaged)
				if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(got, want) {
					t.Fatalf("%s with byte %d damaged: %+v (%v), alone %+v (%v)", gr, i, got, err, want, wantErr)
				}
			}
		}
		if got, err := DecodeShared(gr, nil); err != nil || !reflect.DeepEqual(got, KindFor(gr).New()) {
			t.Errorf("%s of no bytes: %+v, %v", gr, got, err)
		}
	}
}
