package reconcile

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/peapod-sh/peapod/api"
)

// A controller's pods that share a claim are placed together.
func TestDeploymentSharesAClaim(t *testing.T) {
	w := storageWorld(t, 3)
	w.put(Claims, testClaim("data", "local-path", "1Gi"))
	d := testDeployment("web", 3)
	d.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
	w.put(Deployments, d)
	w.converge()
	node := api.LocalPathNode(w.wantBound("data", ""))
	if on := w.podsOn(); len(on) != 1 || on[node] != 3 {
		t.Errorf("pods %v, the volume on %s", on, node)
	}
}

func TestOnePodAtATime(t *testing.T) {
	w := storageWorld(t, 1)
	w.put(Claims, testClaim("data", "local-path", "1Gi", corev1.ReadWriteOncePod))
	w.addUser("a", "data")
	w.addUser("b", "data")
	w.settle()
	first, second := "a", "b"
	if w.podNamed("a").Node == "" {
		first, second = "b", "a"
	}
	s := w.podNamed(second).DecodeStatus()
	want := "0/1 nodes are available: 1 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
	if c := podCondition(&s, corev1.PodScheduled); w.podNamed(second).Node != "" || c == nil || c.Message != want {
		t.Fatalf("%q %+v", w.podNamed(second).Node, c)
	}
	w.erase(ref{Pods, "default", first})
	if w.podNamed(second).Node == "" {
		t.Error("the claim is free and the pod still waits")
	}
}

// A claim of one writer that any node could reach is used on one node at a time: by as many pods as there is room for, by those that are
// about to end too. Invariant 35.
func TestOneWriterIsOneNode(t *testing.T) {
	for mode, together := range map[corev1.PersistentVolumeAccessMode]bool{corev1.ReadWriteOnce: true, corev1.ReadWriteMany: false} {
		t.Run(string(mode), func(t *testing.T) {
			w := storageWorld(t, 3)
			v := testVolume("v", "", "1Gi", "")
			v.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{mode}
			c := testClaim("data", "", "1Gi", mode)
			c.Spec.VolumeName = "v"
			w.put(Volumes, v)
			w.put(Claims, c)
			w.settle()
			d := testDeployment("web", 3)
			d.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
			w.put(Deployments, d)
			w.converge()
			if on := w.podsOn(); (len(on) == 1) != together {
				t.Errorf("pods on %v", on)
			}
		})
	}
}

// On another node a claim of one writer is used when its last user is gone, not when that is about to end. Invariant 35.
func TestOneWriterWaitsForTheOther(t *testing.T) {
	w := storageWorld(t, 2)
	c := testClaim("data", "", "1Gi")
	c.Spec.VolumeName = "v"
	w.put(Volumes, testVolume("v", "", "1Gi", ""))
	w.put(Claims, c)
	w.addUser("first", "data", "data")
	w.settle()
	node, other := w.podNamed("first").Node, "n1"
	if node == "n1" {
		other = "n2"
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "second"}, Spec: testPodSpec("v1")}
	p.Spec.NodeSelector = map[string]string{corev1.LabelHostname: other}
	p.Spec.Volumes = w.podNamed("first").Pod().Spec.Volumes
	w.put(Pods, p)
	w.settle()
	waits := func(when string) {
		t.Helper()
		s := w.podNamed("second").DecodeStatus()
		if c := podCondition(&s, corev1.PodScheduled); c == nil || !strings.Contains(c.Message, "1 "+causeHeld) {
			t.Errorf("%s: on %q, %+v", when, w.podNamed("second").Node, c)
		}
	}
	waits("the claim is in use")
	ending := *w.podNamed("first")
	ending.DeletionTime, ending.DeletionGrace = w.now.Unix()+30, 30
	w.putRecord(w.podNamed("first"), &ending)
	w.settle()
	waits("its user is about to end")
	w.putRecord(w.podNamed("first"), nil)
	w.settle()
	if got := w.podNamed("second").Node; got != other {
		t.Errorf("the claim is free and the pod is on %q", got)
	}
}
