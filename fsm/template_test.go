package fsm

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
)

// numbered is a pod of a StatefulSet.
func numbered(owner types.UID, i int, image string) *corev1.Pod {
	yes := true
	name := fmt.Sprintf("db-%d", i)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "db-", Namespace: "default", Labels: map[string]string{"name": name},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db", UID: owner, Controller: &yes}}},
		Spec: corev1.PodSpec{Hostname: name, Containers: []corev1.Container{{Name: "c", Image: image}}, Volumes: []corev1.Volume{
			{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-" + name}}},
			{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		}},
	}
}

// Templates of one controller have the same parts once, and each is what it was.
func TestTemplatesShareEqualParts(t *testing.T) {
	var c templateCache
	var alive []*api.PodTemplate // the cache keeps none
	intern := func(p *corev1.Pod) *corev1.Pod {
		t.Helper()
		want, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		made, err := c.intern(p)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := made.Pod.Marshal(); err != nil || !bytes.Equal(got, want) || !bytes.Equal(made.Encoded, want) {
			t.Fatalf("%s became another pod: %v", p.Spec.Hostname, made.Pod)
		}
		alive = append(alive, made)
		return made.Pod
	}
	first := intern(numbered("a", 0, "v1"))
	for _, x := range []struct {
		pod    *corev1.Pod
		shares bool
	}{
		{intern(numbered("a", 1, "v1")), true},
		{intern(numbered("b", 2, "v1")), false},
		{intern(numbered("a", 3, "v2")), false},
	} {
		name := x.pod.Spec.Hostname
		if got := &x.pod.Spec.Containers[0] == &first.Spec.Containers[0]; got != x.shares {
			t.Errorf("%s shares containers: %v", name, got)
		}
		if x.shares && x.pod.Spec.Volumes[1].EmptyDir != first.Spec.Volumes[1].EmptyDir {
			t.Errorf("%s shares no volume", name)
		}
		if x.pod.Spec.Volumes[0].PersistentVolumeClaim.ClaimName != "data-"+name {
			t.Errorf("%s has its neighbour's claim: %v", name, x.pod.Spec.Volumes[0])
		}
	}
	runtime.KeepAlive(alive)
}
