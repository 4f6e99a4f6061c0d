package reconcile

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (w *world) controller() *corev1.ReplicationController {
	return w.objects[ref{ReplicationControllers, "default", "old"}].obj.(*corev1.ReplicationController).DeepCopy()
}

// A ReplicationController makes, counts, lets go of and deletes pods, moves them from a dead node, and follows its selector.
func TestReplicationController(t *testing.T) {
	w := standardWorld(t, 1, 3)
	n, l := int32(3), map[string]string{"app": "old"}
	w.put(ReplicationControllers, &corev1.ReplicationController{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "old"}, Spec: corev1.ReplicationControllerSpec{
		Replicas: &n, Selector: l, Template: &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: l}, Spec: testPodSpec("v1")}}})
	w.converge()
	is := func(what string, replicas, ready int32) {
		t.Helper()
		if s := w.controller().Status; s.Replicas != replicas || s.ReadyReplicas != ready || s.AvailableReplicas != ready || s.ObservedGeneration != w.controller().Generation {
			t.Fatalf("%s: %+v", what, s)
		}
	}
	is("new", 3, 3)
	for _, p := range w.mine("old") {
		if c := metav1.GetControllerOf(p.Template.Pod); c == nil || c.Kind != "ReplicationController" || c.APIVersion != "v1" {
			t.Fatalf("controlled by %+v", c)
		}
	}
	rc, more := w.controller(), int32(5)
	rc.Spec.Replicas = &more
	w.put(ReplicationControllers, rc)
	w.converge()
	is("scaled up", 5, 5)
	rc, fewer := w.controller(), int32(1)
	rc.Spec.Replicas = &fewer
	w.put(ReplicationControllers, rc)
	w.converge()
	is("scaled down", 1, 1)
	for _, p := range w.mine("old") {
		w.dead[p.Node] = true
		w.e.NodeDown(p.Node)
	}
	w.converge()
	is("after its node's death", 1, 1)
	// Its selector may change, unlike a ReplicaSet's: what it no longer selects it lets go of.
	rc = w.controller()
	rc.Spec.Selector = map[string]string{"app": "new"}
	rc.Spec.Template.Labels = map[string]string{"app": "new"}
	w.put(ReplicationControllers, rc)
	w.converge()
	is("with another selector", 1, 1)
	if free, own := len(w.mine("old")), len(w.mine("new")); free != 1 || own != 1 {
		t.Fatalf("%d pods let go, %d of its own", free, own)
	}
}
